// Package control is how the launcher is watched and steered while it runs, and
// by whom: one HTTP handler, on the launcher's own Unix socket and, for who has
// the operator's token, on the operator's own origin. It answers from what it is
// given; starting, stopping and deciding are done elsewhere.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"artemis.example/adversary"
	"artemis.example/policy/decision"
	"artemis.example/policy/topology"
)

// Pod is one row of what runs.
type Pod struct {
	Cell      string `json:"cell"`      // the Project, or the namespace outside the Cells
	Component string `json:"component"` // the Component, or the Deployment's name outside the Cells
	Namespace string `json:"namespace"`
	Role      string `json:"role"`
	// Identity is the SPIFFE ID that it proves to others, empty where nobody asks
	// for one: at stage open no Cell is in the mesh.
	Identity string `json:"identity,omitempty"`
	// Protocol is how it is reached, in the words of istioctl ztunnel-config
	// workloads: HBONE for a pod in the mesh, else TCP, which is plaintext.
	Protocol string `json:"protocol"`
	PID      int    `json:"pid"`     // on the host, 0 while it does not run
	Address  string `json:"address"` // the pod's IP
	Ready    bool   `json:"ready"`
	Restarts int    `json:"restarts"`
	State    string `json:"state"`            // "starting", "running", "back-off", "stopping", "stopped"
	Reason   string `json:"reason,omitempty"` // why it last ended or is not ready
	Log      string `json:"log,omitempty"`    // its log file's name in the state directory
}

// Name is how people name a pod: CELL/COMPONENT.
func (p Pod) Name() string { return p.Cell + "/" + p.Component }

// State is the whole suite at one moment.
type State struct {
	Stage       string    `json:"stage"`
	Capture     string    `json:"capture"`
	CaptureNote string    `json:"captureNote,omitempty"` // why it is not netns
	Waypoint    string    `json:"waypoint"`
	StartedAt   time.Time `json:"startedAt"`
	Gateway     string    `json:"gateway"` // address of the gateway's port on this machine
	// what is wrong with the manifests on disk while an earlier set is in force
	Problem string `json:"problem,omitempty"`
	// what Cells lack of their protection because somebody accepted that
	Unprotected []string `json:"unprotected,omitempty"`
	Pods        []Pod    `json:"pods"`
}

// Ready counts the pods that are.
func (s State) Ready() int {
	n := 0
	for _, p := range s.Pods {
		if p.Ready {
			n++
		}
	}
	return n
}

// Suite is what the handler shows and steers.
type Suite interface {
	State() State
	// InForce returns the world that calls are judged by, and its stage; nil while
	// there is none.
	InForce() (stage string, w *topology.World)
	// Changed is closed at the next change of the State.
	Changed() <-chan struct{}
	// SetStage returns when the next call is judged at that stage.
	SetStage(ctx context.Context, stage string) error
	// Apply puts the manifests on disk in force. Those that protect less than
	// before, or less than a Cell needs, only when that is accepted.
	Apply(ctx context.Context, acceptLoss bool) error
	// NewFlight starts the mission's services again, all at once, so that none is
	// left from which another could learn that a flight was under way.
	NewFlight(ctx context.Context) error
	// Calls returns how many requests each pod has had answered by each other,
	// where no waypoint recorded them one by one.
	Calls() []Calls
	// Listen returns what a listener on the node's network sees of a pod within a
	// moment.
	Listen(ctx context.Context, pod string) (Heard, error)
}

// Calls counts requests from one pod to another, both CELL/COMPONENT.
type Calls struct {
	From      string `json:"from"`
	To        string `json:"to"`
	Encrypted bool   `json:"encrypted"`
	Answered  uint64 `json:"answered"`
}

// Heard is what a listener on the wire has to show.
type Heard struct {
	Stage  string  `json:"stage"`
	Pod    string  `json:"pod"`
	Source string  `json:"source"` // where the bytes were taken from
	Pieces []Piece `json:"pieces"`
}

// Piece is what went by in one piece. From and To are pods, CELL/COMPONENT.
type Piece struct {
	At    time.Time `json:"at"`
	From  string    `json:"from"`
	To    string    `json:"to"`
	Bytes int       `json:"bytes"`
	Kind  string    `json:"kind"` // "plaintext", "TLS " and the kind of its record, or "binary"
	// Text is its beginning: as text where it is plaintext, else in hexadecimal.
	Text string `json:"text"`
}

// Attacks is the campaign as the handler shows and plays it.
type Attacks interface {
	// List returns what there is to play, who plays, and the latest results.
	List(ctx context.Context) AttackList
	// Play plays an attack by name and returns its result once it is judged; false
	// if there is none of that name.
	Play(ctx context.Context, id string) (adversary.Result, bool)
	// Follow returns the attacks under way, then every one that starts and every
	// result from then on, until ctx ends. A listener that is too slow misses some.
	Follow(ctx context.Context) <-chan AttackEvent
}

// AttackList is the campaign with what came of it.
type AttackList struct {
	adversary.List
	Results []adversary.Result `json:"results"` // the latest, oldest first
}

// AttackEvent says that an attack has started or, with a Result, what came of it.
type AttackEvent struct {
	Run      string            `json:"run"`
	ID       string            `json:"id"`
	Attacker string            `json:"attacker"`
	Target   string            `json:"target"`
	Stage    string            `json:"stage"` // in force when it started
	At       time.Time         `json:"at"`
	Result   *adversary.Result `json:"result,omitempty"`
}

// Decisions is what the handler reads decisions from.
type Decisions interface {
	// Since returns up to limit records after seq, oldest first, and the number to
	// ask with next.
	Since(seq uint64, limit int) (records []decision.Record, next uint64)
	// Last returns the number of the latest record.
	Last() uint64
	// Wait returns when there is a record after seq, or with the context's error.
	Wait(ctx context.Context, seq uint64) error
}

// NewRequest returns a request with body as JSON, or without one where it is nil.
func NewRequest(ctx context.Context, method, url string, body any) (*http.Request, error) {
	if body == nil {
		return http.NewRequestWithContext(ctx, method, url, nil)
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", jsonType)
	return r, nil
}
