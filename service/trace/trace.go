// Package trace is what an answer tells about how it came to be: who served it,
// when, who called, and the calls that were made to answer, nested. The
// dashboard's signal trace is built from this and from nothing else.
package trace

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"time"
)

// Bounds of what a Trace holds: what lies beyond is cut, not sent.
const (
	MaxHops  = 64
	MaxDepth = 8
)

// Trace is the object under "trace" in every answer.
type Trace struct {
	Service string    `json:"service"`
	Cell    string    `json:"cell"`
	At      time.Time `json:"at"`
	// MissionTime is in seconds since lift-off; nil before it.
	MissionTime *float64 `json:"missionTime"`
	TraceID     string   `json:"traceId"`
	// Operation is what was answered, as "METHOD ROUTE", or the loop that ran.
	Operation string `json:"operation,omitempty"`
	Caller    Caller `json:"caller"`
	Hops      []Hop  `json:"hops"`
}

// Hop is one call that a service made.
type Hop struct {
	From       string  `json:"from"`
	To         string  `json:"to"`
	Method     string  `json:"method"`
	Path       string  `json:"path"`
	Status     int     `json:"status,omitempty"` // 0 when there was no answer
	DurationMs float64 `json:"durationMs"`
	// Error is the problem code that the caller made of it.
	Error string `json:"error,omitempty"`
	// SeenAs is the identity by which the callee knew the caller, and Proof
	// what the caller of this hop can say about it: it knows which value it
	// sent, so a value replaced on the way is proof of a waypoint.
	SeenAs string `json:"seenAs,omitempty"`
	Proof  Proof  `json:"proof,omitempty"`
	Hops   []Hop  `json:"hops,omitempty"`
}

// Recorder gathers the hops of one request or one round of a loop. It is safe
// for concurrent use; a nil Recorder gathers nothing.
type Recorder struct {
	mu   sync.Mutex
	hops []Hop
}

type recorderKey struct{}

// WithRecorder returns a context in which peer calls are recorded.
func WithRecorder(ctx context.Context, r *Recorder) context.Context {
	return context.WithValue(ctx, recorderKey{}, r)
}

// RecorderFrom returns the context's Recorder, or nil.
func RecorderFrom(ctx context.Context) *Recorder {
	r, _ := ctx.Value(recorderKey{}).(*Recorder)
	return r
}

// Add records a hop.
func (r *Recorder) Add(h Hop) {
	if r == nil {
		return
	}
	h.Hops = cut(h.Hops, MaxDepth)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.hops) < MaxHops {
		r.hops = append(r.hops, h)
	}
}

// Hops returns what has been recorded so far.
func (r *Recorder) Hops() []Hop {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Hop(nil), r.hops...)
}

func cut(hops []Hop, depth int) []Hop {
	if depth == 0 {
		return nil
	}
	if len(hops) > MaxHops {
		hops = hops[:MaxHops]
	}
	for i := range hops {
		hops[i].Hops = cut(hops[i].Hops, depth-1)
	}
	return hops
}

// Append writes the JSON of the Trace, the same as json.Marshal would but
// without its cost where there are no hops: every answer carries one.
func (t *Trace) Append(b []byte) ([]byte, error) {
	b = append(b, `{"service":`...)
	b = strconv.AppendQuote(b, t.Service)
	b = append(b, `,"cell":`...)
	b = strconv.AppendQuote(b, t.Cell)
	b = append(b, `,"at":"`...)
	b = t.At.AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","missionTime":`...)
	if t.MissionTime == nil {
		b = append(b, `null`...)
	} else {
		b = strconv.AppendFloat(b, *t.MissionTime, 'f', 3, 64)
	}
	b = append(b, `,"traceId":"`...)
	b = append(b, t.TraceID...)
	b = append(b, '"')
	if t.Operation != "" {
		b = append(b, `,"operation":`...)
		b = strconv.AppendQuote(b, t.Operation)
	}
	b = append(b, `,"caller":`...)
	b, err := t.Caller.append(b)
	if err != nil {
		return nil, err
	}
	b = append(b, `,"hops":`...)
	if len(t.Hops) == 0 {
		b = append(b, `[]`...)
	} else {
		hops, err := json.Marshal(t.Hops)
		if err != nil {
			return nil, err
		}
		b = append(b, hops...)
	}
	return append(b, '}'), nil
}
