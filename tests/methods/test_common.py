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
