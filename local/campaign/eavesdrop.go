package campaign

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"artemis.example/adversary"
	"artemis.example/local/capture"
)

// heardEnough is how long the wire has to be quiet, or to go on, before the
// eavesdropper looks at what there is.
const heardEnough = 700 * time.Millisecond

// secret is what the eavesdropper hopes to read: a request of comms-system to
// guidance-nav, made for an operator's command.
var secret = []byte("GET /position HTTP/1.1")

// eavesdrop listens while an operator's command passes.
func (s *Suite) eavesdrop(ctx context.Context, a adversary.Attack) *adversary.Evidence {
	began := time.Now()
	e := &adversary.Evidence{Sent: "nothing: it listens while an operator asks for telemetry"}
	defer func() { e.DurationMs = float64(time.Since(began).Microseconds()) / 1000 }()
	if s.Tap == nil {
		e.Error = "nobody can listen on this wire: it takes the launcher of a suite on this machine"
		return e
	}
	listening, stop := context.WithTimeout(ctx, heardEnough+5*time.Second)
	defer stop()
	heard := make(chan capture.Segment, 256)
	wait, err := s.Tap(listening, func(one capture.Segment) {
		select {
		case heard <- one:
		case <-listening.Done():
		}
	})
	if err != nil {
		e.Error = fmt.Sprintf("listen: %v", err)
		return e
	}
	go func() {
		defer close(heard)
		_ = wait() // its end is all that matters: there is nothing more to hear
	}()
	go s.probe(listening, a.Target)
	enough := time.After(heardEnough)
	records, all, flows := 0, 0, capture.TLSFlows{}
	for {
		select {
		case one, ok := <-heard:
			if !ok {
				e.Error = "the tap ended"
				return e
			}
			all++
			if at := bytes.Index(one.Data, secret); at >= 0 {
				text := one.Data[at:]
				e.Body = string(text[:min(len(text), 200)])
				e.Concluded, e.Effect = adversary.Allowed, true
				e.Remote = fmt.Sprintf("%s to %s", one.Src, one.Dst)
				e.Note = "the command was read in plaintext on its way between two pods"
				return e
			}
			if flows.Record(one) != "" {
				records++
			}
		case <-enough:
			if records > 0 {
				e.Concluded = adversary.DeniedL4
				e.Attempts, e.Note = all, "TLS records went by, and nothing with the command in it"
			} else {
				e.Error = fmt.Sprintf("%d pieces went by, neither the command nor TLS among them", all)
			}
			return e
		}
	}
}
