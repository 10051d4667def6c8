package launcher

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"net/netip"
	"sync"
	"time"

	"artemis.example/catalog"
	"artemis.example/local/capture"
	"artemis.example/local/control"
	"artemis.example/policy/topology"
)

// What a page is shown of a wire.
const (
	listenFor  = 1500 * time.Millisecond // more than one telemetry cycle
	maxPieces  = 40
	plainBytes = 1200 // of a piece that is text
	hexBytes   = 64   // of one that is not
)

// NewFlight starts the mission's services again. Waypoints and the attacker's
// pods stay as they are.
func (l *launcher) NewFlight(ctx context.Context) error {
	l.applying.Lock()
	defer l.applying.Unlock()
	w, loads, err := l.makeWorld(l.project, l.stage())
	if err != nil {
		return err
	}
	var mission, others []*process
	l.mu.Lock()
	for _, p := range l.processes {
		if _, ok := catalog.Lookup(p.workload.Role); ok {
			mission = append(mission, p)
		} else {
			others = append(others, p)
		}
	}
	l.mu.Unlock()
	l.stop(mission, noLimit)
	l.mu.Lock()
	l.processes = others
	l.mu.Unlock()
	return l.reconcile(context.WithoutCancel(ctx), w, loads)
}

// Calls returns what the mesh has counted, by the pods' names.
func (l *launcher) Calls() []control.Calls {
	w := l.world()
	var calls []control.Calls
	for _, c := range l.mesh.Calls() {
		if from, to := podName(w, c.From), podName(w, c.To); from != "" && to != "" && c.Answered > 0 {
			calls = append(calls, control.Calls{From: from, To: to, Encrypted: c.Encrypted, Answered: c.Answered})
		}
	}
	return calls
}

func podName(w *topology.World, ref topology.Ref) string {
	if p := w.Pod(ref); p != nil {
		return nameOf(p)
	}
	return ""
}

func nameOf(p *topology.Pod) string { return cmp.Or(p.Cell, p.Namespace) + "/" + p.Component }

// Listen taps the node's network for a moment and returns what concerned a pod.
func (l *launcher) Listen(ctx context.Context, name string) (control.Heard, error) {
	w := l.world()
	var pod *topology.Pod
	for _, p := range w.Pods {
		if nameOf(p) == name && p.Kind == topology.App {
			pod = p
		}
	}
	if pod == nil {
		return control.Heard{}, errors.New("there is no such pod")
	}
	heard := control.Heard{Stage: l.stage(), Pod: name, Source: l.resources.Node.TapSource(),
		Pieces: []control.Piece{}}
	ctx, cancel := context.WithTimeout(ctx, listenFor)
	defer cancel()
	var mu sync.Mutex
	flows := capture.TLSFlows{}
	wait, err := l.tap(ctx, &mu, func(s capture.Segment) {
		if s.Src.Addr() != pod.IP && s.Dst.Addr() != pod.IP {
			return
		}
		if len(heard.Pieces) == maxPieces {
			cancel()
			return
		}
		piece := control.Piece{At: s.At, From: wireEnd(w, s.Src), To: wireEnd(w, s.Dst), Bytes: len(s.Data)}
		if piece.Kind = flows.Kind(s); piece.Kind == capture.Plaintext {
			piece.Text = string(s.Data[:min(len(s.Data), plainBytes)])
		} else {
			piece.Text = hex.EncodeToString(s.Data[:min(len(s.Data), hexBytes)])
		}
		heard.Pieces = append(heard.Pieces, piece)
	})
	if err != nil {
		return control.Heard{}, err
	}
	err = wait()
	mu.Lock()
	defer mu.Unlock()
	if err != nil && ctx.Err() == nil {
		return control.Heard{}, err
	}
	return heard, nil
}

// wireEnd names an end of a connection on the wire.
func wireEnd(w *topology.World, addr netip.AddrPort) string {
	if p := w.PodAt(addr.Addr()); p != nil {
		return nameOf(p)
	}
	return addr.String()
}
