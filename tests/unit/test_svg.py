"""What of a figure's file passes into the page."""

from pathlib import Path

import pytest

from mergesuite.errors import UserError
from mergesuite.report import svg

HEAD = (
    '<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg xmlns:xlink="http://www.w3.org/1999/xlink" '
    'width="72pt" height="9pt" viewBox="0 0 72 9" xmlns="http://www.w3.org/2000/svg">'
)


def made(tmp_path: Path, body: str) -> Path:
    file = tmp_path / "a.svg"
    file.write_text(f"{HEAD}{body}</svg>")
    return file


@pytest.mark.parametrize(
    "body",
    [
        "<script>alert(1)</script>",
        '<g onload="alert(1)"/>',
        '<use xlink:href="http://a.b/c#d"/>',
        '<use xlink:href="javascript:alert(1)"/>',
        '<a xlink:href="#x"><text>x</text></a>',
        "<foreignObject/>",
        '<image xlink:href="data:image/png;base64,AA"/>',
        "<style>@import 'http://a.b';</style>",
        '<path style="fill: url(http://a.b)"/>',
        '<path style="fill: \\75rl(http://a.b)"/>',
        '<h:script xmlns:h="http://www.w3.org/1999/xhtml">alert(1)</h:script>',
        "<g>",
        "&unknown;",
    ],
)
def test_what_no_figure_of_ours_holds_does_not_pass(tmp_path, body):
    with pytest.raises(UserError, match="is no figure of ours") as caught:
        svg.read(made(tmp_path, body), "p", "t")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        "<!--><script>alert(1)</script>-->",
        "<text><![CDATA[<script>alert(1)</script>]]></text>",
        "<text>&lt;script>alert(1)&lt;/script></text>",
        "<?x <script>alert(1)</script>?>",
        "<metadata><script>alert(1)</script></metadata>",
    ],
)
def test_what_html_reads_otherwise_than_xml_is_written_anew(tmp_path, body):
    assert "<script" not in svg.read(made(tmp_path, body), "p", "t")


def test_names_and_references_have_a_prefix_and_the_title_is_escaped(tmp_path):
    body = '<style>*{stroke: red}</style><path id="a" clip-path="url(#b)"/>'
    body += '<use xlink:href="#a" x="1"/>'
    text = svg.read(made(tmp_path, body), "p", '<"t">')
    assert text == (
        '<svg viewBox="0 0 72 9" id="p" role="img" aria-label="&lt;&quot;t&quot;&gt;" '
        'style="max-width:96px"><title>&lt;"t"&gt;</title><style>#p *{stroke: red}</style>'
        '<path id="p-a" clip-path="url(#p-b)" /><use xlink:href="#p-a" x="1" /></svg>'
    )


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"<html/>", b"<svg>" * 50_000])
def test_what_is_no_svg_is_one_line(tmp_path, content):
    (tmp_path / "a.svg").write_bytes(content)
    with pytest.raises(UserError):
        svg.read(tmp_path / "a.svg", "p", "t")
