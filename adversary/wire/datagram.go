package wire

import (
	"net"

	"artemis.example/adversary"
)

// datagram sends one over UDP. Whether the kernel lets it out is all there is to
// know: nothing answers.
func datagram(r adversary.Request) *adversary.Evidence {
	e := &adversary.Evidence{Sent: "one UDP datagram to " + r.To, Remote: r.To}
	conn, err := net.Dial("udp", r.To)
	if err == nil {
		defer conn.Close()
		_, err = conn.Write([]byte("artemis"))
	}
	if err == nil {
		e.Concluded, e.Effect, e.Note = adversary.Allowed, true, "the datagram left the pod"
		return e
	}
	failed(e, err)
	if e.Fault == adversary.NotPermitted || e.Fault == adversary.Unreachable {
		e.Concluded, e.Note = adversary.DeniedNetwork, "the pod's own kernel refused it: "+string(e.Fault)
	}
	return e
}
