import io
import re
import zlib
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from personalgen.errors import DataError, InternalError
from personalgen.generation.encoders import Encoder, choose_encoder
from personalgen.generation.provenance import DIGITAL_SOURCE_TYPE, Provenance, read_provenance, stamped

SAID = Provenance(
    software="personalgen 1.2",
    model='a "model" <of> Ada & co v3',
    generator="ab" * 32,
    night="cd" * 16,
    day="2026-03-01",
)


def pillow(extension, **options):
    """Return an encoder by Pillow."""

    def encode(image):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, **options)
        return stream.getvalue()

    return Encoder(extension, extension, lambda images: [encode(image) for image in images])


ENCODERS = {
    "png/fpng": choose_encoder("png/fpng"),
    "png/isal": choose_encoder("png/isal"),
    "png/zlib": choose_encoder("png/zlib"),
    "png/pillow": pillow("png", format="PNG"),
    "jpeg95": choose_encoder("jpeg95"),
    "webp/chosen": choose_encoder("webp"),
    "jpeg": pillow("jpg", format="JPEG", quality=95, subsampling=0),
    "webp": pillow("webp", format="WEBP", lossless=True, method=0),
}


@pytest.fixture
def images():
    """Return three images whose sides are odd and differ."""
    return np.random.default_rng(0).integers(0, 256, (3, 15, 21, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_picture_says_where_it_comes_from_and_stays_the_same_picture(name, images):
    """Pillow reads the same pixels from a stamped file, and the text that stands in it."""
    plain, marked = ENCODERS[name].encode(images), stamped(ENCODERS[name], SAID).encode(images)
    for before, after in zip(plain, marked, strict=True):
        with Image.open(io.BytesIO(before)) as a, Image.open(io.BytesIO(after)) as b:
            a.load()
            b.load()
            assert np.array_equal(np.asarray(a), np.asarray(b))
            held = b.info.get("XML:com.adobe.xmp") or b.info["xmp"]
            text = held if isinstance(held, str) else held.decode()
            assert f'Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCE_TYPE}"' in text
            assert 'personalgen:generated="true"' in text
        assert read_provenance(after) == SAID
        assert read_provenance(before) is None


@pytest.mark.parametrize("name", ["png/fpng", "png/zlib"])
def test_every_chunk_has_its_checksum(name, images):
    """A strict reader finds IHDR first, one iTXt, IEND last, and the right CRC behind each."""
    data = stamped(ENCODERS[name], SAID).encode(images)[0]
    kinds, at = [], 8
    while at < len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        assert zlib.crc32(data[at + 4 : at + 8 + length]) == int.from_bytes(
            data[at + 8 + length : at + 12 + length], "big"
        )
        kinds.append(kind)
        at += 12 + length
    assert (kinds[0], kinds.count(b"iTXt"), kinds[-1]) == (b"IHDR", 1, b"IEND")


def test_the_packet_is_xml_and_names_nobody(images):
    """The packet parses as XML, and two users' pictures hold the same one."""
    packet = SAID.packet().decode()
    tree = ET.fromstring(re.sub(r"<\?xpacket.*?\?>", "", packet))
    (description,) = tree.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    assert description.get("{urn:personalgen:provenance:1}model") == SAID.model
    assert len({data[33 : 33 + len(packet)] for data in stamped(ENCODERS["png/zlib"], SAID).encode(images)}) == 1


def test_the_name_of_the_encoder_stays(images):
    """The catalogue records the encoder as before."""
    assert (stamped(ENCODERS["png/zlib"], SAID).name, stamped(ENCODERS["png/zlib"], SAID).extension) == (
        "png/zlib",
        "png",
    )


def test_a_format_that_holds_none_is_refused():
    """Nothing is drawn that could not say where it comes from."""
    with pytest.raises(InternalError, match="gif cannot hold provenance"):
        stamped(pillow("gif", format="GIF"), SAID)


@pytest.mark.parametrize("cut", ["generator", "night"])
def test_half_a_statement_is_none(images, cut):
    """A packet without one of the facts says nothing."""
    data = stamped(ENCODERS["jpeg"], SAID).encode(images)[0]
    assert read_provenance(data.replace(f"personalgen:{cut}".encode(), b"x" * (12 + len(cut)))) is None


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(20)])
def test_what_is_no_picture_is_refused(data):
    """Other files are a DataError, whatever they hold."""
    with pytest.raises(DataError, match="Nothing was changed"):
        read_provenance(data)


def test_a_bomb_is_not_opened():
    """A small file of very many pixels is refused by its header."""
    stream = io.BytesIO()
    Image.new("1", (9_000, 9_000)).save(stream, format="PNG")
    with pytest.raises(DataError, match="too large"):
        read_provenance(stream.getvalue())
