import subprocess
import sys
from typing import Any

import pytest

from hephaes_rpc.errors import ParamsError
from hephaes_rpc.methods import register_all
from hephaes_rpc.protocol import read_params
from hephaes_rpc.registry import REGISTRY

register_all()


@pytest.mark.parametrize("raw", [[{"limit": 3}, None], {"limit": 3}])
def test_params_of_a_client_without_a_token(raw: Any) -> None:
    assert read_params(REGISTRY.methods["jobs/list"], raw)[0].limit == 3
    assert read_params(REGISTRY.methods["health"], [None, None]) == read_params(REGISTRY.methods["health"], None)


@pytest.mark.parametrize("raw", [[], [None], [{}], [{}, 1], [1, None], [{}, None, None]])
def test_params_by_position_are_refused(raw: Any) -> None:
    with pytest.raises(ParamsError, match="position"):
        read_params(REGISTRY.methods["jobs/list"], raw)


def test_the_method_table_loads_nothing_heavy() -> None:
    program = (
        "import sys; from hephaes_rpc.methods import register_all; register_all();"
        " sys.exit(', '.join({'numpy', 'pyarrow', 'PIL', 'rosbags', 'mcap'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
