"""What IDL says beside its types: which structs may grow, which members may be absent, under which numbers they go.

Strategy: one pass over the tokens of the text, following modules, structs and enums; anything else is stepped over.
Annotations wait until the struct or member that they stand before.  rosbags parses the types themselves.

Annotations: OMG DDS-XTypes 1.3, 7.3.1.2.
"""

import hashlib
import re

from attrs import define, field, frozen

from hephaes_rpc.engine.messages.xcdr2 import Extensibility

MAX_MEMBER_ID = 0x0FFF_FFFF
_TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|#[^\n]*|(?P<text>"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\')|(?P<name>(?:::)?[A-Za-z_]\w*(?:::\w+)*)'
    r"|(?P<number>\d[\w.]*)|(?P<mark>[^\s\w])",
    re.DOTALL,
)
_OPENING, _CLOSING = frozenset("<[("), frozenset(">])")


@frozen
class Member:
    """A member of a struct: its number on the wire and whether it may be absent."""

    name: str
    id: int
    optional: bool


@frozen
class Struct:
    """A struct; ``extensibility`` is None where the text does not say it."""

    extensibility: Extensibility | None
    members: tuple[Member, ...]


@define
class Annotations:
    """Structs and enums by full name, ``a/b/Name``."""

    structs: dict[str, Struct] = field(factory=dict)
    enums: set[str] = field(factory=set)


def annotations(text: str) -> Annotations:
    """The annotations of an IDL text; text that is no IDL gives what was understood of it."""
    words = [match.group() for match in _TOKEN.finditer(text) if match.lastgroup is not None]
    reader = _Reader(words)
    reader.definitions()
    return reader.found


@define
class _Reader:
    words: list[str]
    at: int = 0
    found: Annotations = field(factory=Annotations)

    def next(self) -> str:
        """The next word, empty at the end."""
        self.at += 1
        return self.words[self.at - 1] if self.at <= len(self.words) else ""

    def definitions(self) -> None:
        """All definitions, with the modules that they are in."""
        prefixes = [""]
        said: dict[str, str] = {}
        while word := self.next():
            if word == "@":
                self.annotation(said)
                continue
            if word == "}":
                prefixes = prefixes[:-1] or [""]
            elif word == "module":
                prefixes.append(f"{prefixes[-1]}{self.next()}/")
                self.next()
            elif word == "struct":
                self.struct(prefixes[-1], said)
            elif word == "enum":
                name = self.next()
                if "bit_bound" not in said:
                    self.found.enums.add(prefixes[-1] + name)
                self.past_definition()
            elif word != ";":
                self.past_definition()
            said = {}

    def annotation(self, said: dict[str, str]) -> None:
        """``@name`` or ``@name(value)``."""
        name = self.next().rpartition("::")[2]
        said[name] = ""
        depth = 0
        while self.at < len(self.words) and (depth or self.words[self.at] == "("):
            word = self.next()
            depth += (word == "(") - (word == ")")
            said[name] += word if word not in "()" else ""
            if not depth:
                break

    def past_definition(self) -> None:
        """Step behind the semicolon that ends a definition, braces and all."""
        depth = 0
        while word := self.next():
            depth += (word == "{") - (word == "}")
            if word == ";" and depth <= 0:
                return

    def struct(self, prefix: str, said: dict[str, str]) -> None:
        """A struct with its members, or its forward declaration."""
        name = self.next()
        while (word := self.next()) != "{":
            if word in ("", ";"):
                return
        members: list[Member] = []
        hashed = said.get("autoid", "").upper() == "HASH"
        notes: dict[str, str] = {}
        declaration: list[str] = []
        while word := self.next():
            if word == "@":
                self.annotation(notes)
            elif word == "}":
                break
            elif word == ";":
                for declared in _declared(declaration):
                    previous = members[-1].id if members else -1
                    members.append(Member(declared, _id(declared, notes, previous, hashed), "optional" in notes))
                    notes.pop("id", None)
                declaration, notes = [], {}
            else:
                declaration.append(word)
        self.found.structs[prefix + name] = Struct(_extensibility(said), tuple(members))


def _declared(tokens: list[str]) -> list[str]:
    """Names of the members that one declaration makes."""
    names: list[str] = []
    depth, last = 0, ""
    for word in [*tokens, ","]:
        if word in _OPENING:
            depth += 1
        elif word in _CLOSING:
            depth -= 1
        elif depth == 0 and word == ",":
            names.append(last)
        elif depth == 0:
            last = word
    return names


def _id(name: str, notes: dict[str, str], previous: int, hashed: bool) -> int:
    if "id" in notes:
        try:
            return int(notes["id"], 0) & MAX_MEMBER_ID
        except ValueError:
            return previous + 1
    if hashed or "hashid" in notes:
        text = notes.get("hashid", "").strip('"') or name
        digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
        return int.from_bytes(digest[:4], "little") & MAX_MEMBER_ID
    return previous + 1


def _extensibility(said: dict[str, str]) -> Extensibility | None:
    stated = said.get("extensibility", "").lower()
    for kind in ("final", "appendable", "mutable"):
        if kind in said or stated == kind:
            return kind
    return None
