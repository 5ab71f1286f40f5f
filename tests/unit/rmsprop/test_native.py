"""What is compiled is what the sources say now."""

import pytest

from rmsprop import native


@pytest.mark.skipif(native._compiler() is None, reason="there is no C++ compiler")
def test_a_changed_header_is_compiled_again(tmp_path, monkeypatch):
    monkeypatch.setattr(native, "_cache_directory", lambda: tmp_path)
    source, header = tmp_path / "value.cpp", tmp_path / "value.hpp"
    source.write_text('#include "value.hpp"\nextern "C" int value() { return VALUE; }\n')
    values = []
    for value in (1, 2, 1):
        header.write_text(f"#define VALUE {value}\n")
        values.append(native.find_or_build(source, "value", ()).value())
    assert values == [1, 2, 1]
    assert len(list(tmp_path.glob("value-*.so"))) == 2  # the third was found
