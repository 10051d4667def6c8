package mesh

import (
	"net"
	"net/netip"
	"time"

	"artemis.example/policy/decision"
	"artemis.example/policy/topology"
)

// note writes one decision to the log.
func (m *Mesh) note(s *state, r decision.Record) {
	r.Stage = s.stage
	r.Capture = m.cfg.Node.Name()
	if r.At.IsZero() {
		r.At = time.Now()
	}
	m.cfg.Log.Append(r)
}

// callerOf describes the caller by what it has proven; its address only helps
// where it has proven nothing.
func callerOf(w *topology.World, identity string, addr netip.AddrPort) decision.Peer {
	p := w.PodAt(addr.Addr())
	if identity != "" && (p == nil || p.Identity != identity) {
		p = w.PodOf(identity)
	}
	from := peerOf(p)
	from.Identity = identity
	from.Address = addr.String()
	return from
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
