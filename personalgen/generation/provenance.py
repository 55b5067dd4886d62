"""Says inside each picture that it was generated, by which model, in which night: an XMP packet, as IPTC asks for.

Plain readers see it and show the picture as ever. It names nobody: it is the same in all pictures of a model and a
night, so its bytes and checksum are made once. It is an assertion and no proof, for it is not signed: anybody can write
one, and anybody can take it out. What is proven is proven by the catalogue (`steps.verify`).

Source: IPTC Photo Metadata Standard 2023.1 (Digital Source Type); XMP specification, part 3, 1.1.2 (PNG), 1.1.3 (JPEG);
WebP container specification (VP8X).
"""

import html
import io
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Final

from personalgen.errors import DataError, InternalError
from personalgen.generation.encoders import Encoder, Images, Refused

DIGITAL_SOURCE_TYPE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_NAMESPACE: Final = "urn:personalgen:provenance:1"
_PNG_HEAD_BYTES: Final = 33
"""The signature and IHDR, after which other chunks may come."""
_XMP_MARKER: Final = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_FLAG, _ALPHA_FLAG = 0x04, 0x10
_FACT = re.compile(r'personalgen:(\w+)="([^"]*)"')
_MAX_PACKET_CHARS: Final = 65_000
_MAX_PIXELS: Final = 64 << 20


@dataclass(frozen=True)
class Provenance:
    """Where a picture comes from. No personal data: equal in all pictures of a model and a night."""

    software: str
    """Name and version of the program."""
    model: str
    """Name and version of the registered model."""
    generator: str
    """sha256 of the generator's weights."""
    night: str
    """Key of the night that drew it."""
    day: str
    """The night's day."""
    generated: str = "true"
    """Said in so many words."""

    def packet(self) -> bytes:
        """Return the XMP packet."""
        facts = " ".join(f'personalgen:{name}="{html.escape(value)}"' for name, value in asdict(self).items())
        return (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
            '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
            'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
            f'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:personalgen="{_NAMESPACE}" '
            f'Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCE_TYPE}" xmp:CreatorTool="{html.escape(self.software)}" '
            f'{facts}/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
        ).encode()


def stamped(encoder: Encoder, provenance: Provenance) -> Encoder:
    """Return the encoder with the provenance in each of its files.

    Raises:
        InternalError: nobody has said how files of this format hold it.
    """
    if encoder.extension not in _SPLICERS:
        raise InternalError(f"pictures with the suffix {encoder.extension} cannot hold provenance. Nothing was drawn.")
    splice = _SPLICERS[encoder.extension](provenance.packet())

    def encode_batch(images: Images) -> list[bytes | Refused]:
        return [splice(data) if isinstance(data, bytes) else data for data in encoder.encode_batch(images)]

    return replace(encoder, encode_batch=encode_batch)


def read_provenance(data: bytes) -> Provenance | None:
    """Return what a picture says of itself, or None where it says nothing, or nothing that is whole.

    Raises:
        DataError: the bytes are no PNG, JPEG or WebP.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "JPEG", "WEBP"]) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise DataError(f"a picture of {image.width}x{image.height} is too large to be looked at.")
            held = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or b""
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"this is no PNG, JPEG or WebP that can be read: {error}. Nothing was changed.") from error
    packet = held.decode("utf-8", "replace") if isinstance(held, bytes) else str(held)
    if _NAMESPACE not in packet or len(packet) > _MAX_PACKET_CHARS:
        return None
    found = {name: html.unescape(value) for name, value in _FACT.findall(packet)}
    names = {field.name for field in fields(Provenance)}
    return Provenance(**{name: found[name] for name in names}) if names <= found.keys() else None


def _into_png(packet: bytes) -> Callable[[bytes], bytes]:
    """Return what puts an iTXt chunk behind IHDR; its CRC is computed here, once."""
    body = b"iTXtXML:com.adobe.xmp\0\0\0\0\0" + packet
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return lambda data: b"".join((data[:_PNG_HEAD_BYTES], chunk, data[_PNG_HEAD_BYTES:]))


def _into_jpeg(packet: bytes) -> Callable[[bytes], bytes]:
    """Return what puts an APP1 segment behind JFIF's own APP0, or behind the start where there is none."""
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(_XMP_MARKER) + len(packet)) + _XMP_MARKER + packet

    def splice(data: bytes) -> bytes:
        at = 4 + int.from_bytes(data[4:6], "big") if data[2:4] == b"\xff\xe0" else 2
        return b"".join((data[:at], segment, data[at:]))

    return splice


def _into_webp(packet: bytes) -> Callable[[bytes], bytes]:
    """Return what puts a lossless WebP into the extended container, with an XMP chunk at its end."""
    chunk = b"XMP " + struct.pack("<I", len(packet)) + packet + bytes(len(packet) % 2)

    def splice(data: bytes) -> bytes:
        if data[12:16] != b"VP8L":
            raise InternalError(f"a lossless WebP was expected, found a {data[12:16]!r} chunk. Nothing was written.")
        bits = int.from_bytes(data[21:25], "little")  # 14 bits of width - 1, 14 of height - 1, one for alpha
        width, height, alpha = bits & 0x3FFF, bits >> 14 & 0x3FFF, bits >> 28 & 1
        flags = _XMP_FLAG | _ALPHA_FLAG * alpha
        head = b"VP8X" + struct.pack("<II", 10, flags) + width.to_bytes(3, "little") + height.to_bytes(3, "little")
        body = b"".join((b"WEBP", head, data[12:], chunk))
        return b"RIFF" + struct.pack("<I", len(body)) + body

    return splice


_SPLICERS: Final = {"png": _into_png, "jpg": _into_jpeg, "webp": _into_webp}
