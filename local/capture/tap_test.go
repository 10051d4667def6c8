package capture

import (
	"bytes"
	"net/netip"
	"testing"
)

func packet(header, offset byte, data string) []byte {
	b := make([]byte, int(header)*4+int(offset)*4)
	b[0], b[9] = 0x40|header, protocolTCP
	copy(b[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	tcp := b[int(header)*4:]
	tcp[0], tcp[1], tcp[2], tcp[3], tcp[12] = 0x1f, 0x90, 0x3a, 0xa0, offset<<4
	b = append(b, data...)
	b[2], b[3] = byte(len(b)>>8), byte(len(b))
	return b
}

func TestASegmentIsReadFromItsPacket(t *testing.T) {
	for _, c := range []struct {
		packet []byte
		ok     bool
	}{
		{packet(5, 5, "hello"), true},
		{packet(6, 8, "hello"), true}, // with options
		{append(packet(5, 5, "hello"), "padding"...), true},
		{packet(5, 5, ""), false},
		{packet(5, 5, "hello")[:30], false},
	} {
		s, ok := TCPSegment(c.packet)
		if ok != c.ok || ok && (string(s.Data) != "hello" ||
			s.Src.String() != "10.0.0.1:8080" || s.Dst.String() != "10.0.0.2:15008") {
			t.Errorf("%x: %v, %+v", c.packet, ok, s)
		}
	}
}

// FuzzTCPSegment checks that what is taken for data is some of the packet's.
func FuzzTCPSegment(f *testing.F) {
	f.Add(packet(5, 5, "hello"))
	f.Add(packet(15, 15, "hello"))
	f.Add(packet(6, 8, "hello")[:40])
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, ok := TCPSegment(b); ok && (len(s.Data) == 0 || !bytes.Contains(b[40:], s.Data)) {
			t.Fatalf("%q from the packet %q", s.Data, b)
		}
	})
}

// TestAPieceIsCalledWhatItIs has a listener come in the middle of a TLS record: the rest
// of it is no plaintext.
func TestAPieceIsCalledWhatItIs(t *testing.T) {
	flows := TLSFlows{}
	for _, c := range []struct {
		from       uint16
		data, want string
	}{
		{1, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", Plaintext},
		{1, "caf\xc3", Plaintext},
		{1, "", Plaintext},
		{2, "\x16\x03\x03\x00\x08\x02\x00", "TLS handshake"},
		{2, "\x00\x04\xb6\x03\x03\x52", "TLS record, continued"},
		{3, "\x4b\x3c\x8f\x97\x47\x6c\x26\xc8\x8c\xbe\x61", "binary"},
	} {
		if got := flows.Kind(Segment{Src: netip.AddrPortFrom(NodeIP, c.from), Data: []byte(c.data)}); got != c.want {
			t.Errorf("%q from port %d: %s, want %s", c.data, c.from, got, c.want)
		}
	}
}
