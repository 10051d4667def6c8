package campaign

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"artemis.example/adversary"
	"artemis.example/service/problem"
	"artemis.example/service/trace"
)

// control is a legitimate call of an operator that comes to a service: by the
// trace of its answer it is seen that it did.
type control struct {
	path string
	body any
}

const director = "/flight-director-http"

// controlFor returns the operator's call that reaches a service.
func controlFor(target string) (control, bool) {
	switch target {
	case "flight-director":
		return control{path: director + "/mission/graph"}, true
	case "telemetry-monitor":
		return control{path: director + "/downlink/telemetry"}, true
	case "capcom", "comms-system", "guidance-nav", "life-support", "crew-interface":
		return control{path: director + "/uplink/command", body: map[string]string{"type": "telemetry-request"}}, true
	case adversary.Console:
		return control{path: console + "/attacks"}, true
	}
	return control{}, false
}

// probe makes the live control of a target.
func (s *Suite) probe(ctx context.Context, target string) *adversary.Probe {
	c, ok := controlFor(target)
	if !ok {
		return &adversary.Probe{Call: "none", Detail: "no operator's call reaches " + target}
	}
	p := &adversary.Probe{Call: "GET " + c.path}
	if c.body != nil {
		p.Call = "POST " + c.path
	}
	a, err := s.ask(ctx, c.path, c.body)
	if err != nil {
		p.Detail = err.Error()
		return p
	}
	return judgeProbe(p, target, a)
}

func judgeProbe(p *adversary.Probe, target string, a answer) *adversary.Probe {
	var got struct {
		Code  problem.Code `json:"code"`
		Peer  string       `json:"peer"`
		Trace trace.Trace  `json:"trace"`
	}
	if err := json.Unmarshal(a.body, &got); err != nil || got.Trace.Service == "" {
		// Nobody of ours answered: for the first service behind the gateway
		// that means that it is not there.
		p.Target = a.status == http.StatusServiceUnavailable && (target == "flight-director" || target == adversary.Console)
		p.Detail = fmt.Sprintf("somebody on the way answered %d", a.status)
		return p
	}
	if got.Trace.Service == target {
		p.OK = a.status == http.StatusOK
		p.Target = !p.OK
		p.Detail = fmt.Sprintf("%s answered %d", target, a.status)
		return p
	}
	hop := find(got.Trace.Hops, target)
	switch {
	case hop == nil:
		p.Detail = fmt.Sprintf("answered %d, but the call did not come to %s", a.status, target)
		if got.Peer != "" {
			p.Detail += fmt.Sprintf(": %s at %s", got.Code, got.Peer)
		}
	case hop.Error != "" || hop.Status/100 != 2:
		p.Target = true
		p.Detail = fmt.Sprintf("%s of %s got %d %s", hop.From, target, hop.Status, hop.Error)
	default:
		p.OK = true
		p.Detail = fmt.Sprintf("%s %s of %s by %s was answered %d", hop.Method, hop.Path, target, hop.From, hop.Status)
	}
	return p
}

// find returns a hop to a service, one that failed before one that did not.
func find(hops []trace.Hop, target string) *trace.Hop {
	var found *trace.Hop
	for i := range hops {
		h := &hops[i]
		if h.To != target {
			h = find(h.Hops, target)
		}
		if h == nil {
			continue
		}
		if h.Error != "" || h.Status/100 != 2 {
			return h
		}
		found = h
	}
	return found
}
