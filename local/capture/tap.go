package capture

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"
	"unicode/utf8"
)

// Segment is what went over the node's network in one piece, as a listener on
// it sees it.
type Segment struct {
	At   time.Time      `json:"at"`
	Src  netip.AddrPort `json:"from"`
	Dst  netip.AddrPort `json:"to"`
	Data []byte         `json:"data"`
}

const protocolTCP = 6

// TCPSegment reads an IPv4 packet (RFC 791) with TCP (RFC 9293) that carries data;
// false for any other. At is not set.
func TCPSegment(packet []byte) (Segment, bool) {
	if len(packet) < 20 || packet[0]>>4 != 4 || packet[9] != protocolTCP {
		return Segment{}, false
	}
	header, total := int(packet[0]&15)*4, int(binary.BigEndian.Uint16(packet[2:]))
	if total == 0 { // segmentation offload: longer than the field can say
		total = len(packet)
	}
	if header < 20 || total > len(packet) || total < header+20 {
		return Segment{}, false
	}
	tcp := packet[header:total]
	offset := int(tcp[12]>>4) * 4
	if offset < 20 || offset >= len(tcp) {
		return Segment{}, false
	}
	src := netip.AddrPortFrom(netip.AddrFrom4([4]byte(packet[12:16])), binary.BigEndian.Uint16(tcp))
	dst := netip.AddrPortFrom(netip.AddrFrom4([4]byte(packet[16:20])), binary.BigEndian.Uint16(tcp[2:]))
	return Segment{Src: src, Dst: dst, Data: bytes.Clone(tcp[offset:])}, true
}

// TLSFlows remembers of each direction of a connection how much of its last TLS
// record is still to come: the network cuts records wherever it likes.
type TLSFlows map[[2]netip.AddrPort]int

// Record returns the kind of the TLS record (RFC 8446, 5.1) that the next piece of
// a flow starts with or goes on with, empty where there is none.
func (f TLSFlows) Record(s Segment) string {
	way, b := [2]netip.AddrPort{s.Src, s.Dst}, s.Data
	kind, rest := "", f[way]
	defer func() { f[way] = rest }()
	if rest > 0 {
		kind = "record, continued"
	}
	for len(b) > rest {
		b, rest = b[rest:], 0
		name := map[byte]string{20: "change cipher spec", 21: "alert", 22: "handshake", 23: "application data"}
		if len(b) < 5 || b[1] != 3 || b[2] > 4 || name[b[0]] == "" {
			return kind
		}
		if kind == "" {
			kind = name[b[0]]
		}
		rest = 5 + int(b[3])<<8 + int(b[4])
	}
	rest -= len(b)
	return kind
}

// looksAt is how much of a piece tells what it is.
const looksAt = 1200

// Plaintext is the Kind of a piece that a listener can read.
const Plaintext = "plaintext"

// Kind returns what the next piece of a flow is: Plaintext, "TLS " and the kind of its
// record, or "binary", such as the rest of a record whose beginning nobody has heard.
func (f TLSFlows) Kind(s Segment) string {
	record := f.Record(s)
	begins := s.Data[:min(len(s.Data), looksAt)]
	begins = begins[:max(0, len(begins)-utf8.UTFMax)] // the last character may be cut
	switch {
	case record != "":
		return "TLS " + record
	case bytes.ContainsFunc(begins, func(r rune) bool {
		return r == utf8.RuneError || r < ' ' && r != '\r' && r != '\n' && r != '\t'
	}):
		return "binary"
	}
	return Plaintext
}
