package adversary

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// Where the gateway publishes what the campaign needs (the HTTPRoutes of the
// rendered set, and of adversary/manifests/console.yaml).
const (
	DirectorPath = "/flight-director-http"
	ConsolePath  = "/adversary-console-http"
)

// OperatorCall is a legitimate call of an operator through the gateway that ends at a
// service; the trace in the answer shows that it came there. With a body it is a POST
// of JSON, without one a GET.
type OperatorCall struct {
	Path string          `json:"path"`
	Body json.RawMessage `json:"body,omitempty"`
}

// String returns method and path.
func (c OperatorCall) String() string {
	if c.Body != nil {
		return http.MethodPost + " " + c.Path
	}
	return http.MethodGet + " " + c.Path
}

// ControlFor returns the operator's call that reaches a service, which is the
// live control of every attack on it.
func ControlFor(target string) (OperatorCall, bool) {
	switch target {
	case "flight-director":
		return OperatorCall{Path: DirectorPath + "/mission/graph"}, true
	case "telemetry-monitor":
		return OperatorCall{Path: DirectorPath + "/downlink/telemetry"}, true
	case "capcom", "comms-system", "guidance-nav", "life-support", "crew-interface":
		return OperatorCall{Path: DirectorPath + "/uplink/command",
			Body: json.RawMessage(`{"type":"telemetry-request"}`)}, true
	case Console:
		return OperatorCall{Path: ConsolePath + "/attacks"}, true
	}
	return OperatorCall{}, false
}

// hop is a call that was made to answer, as the services' traces name it.
type hop struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Method string `json:"method"`
	Path   string `json:"path"`
	Status int    `json:"status"`
	Error  string `json:"error"`
	Hops   []hop  `json:"hops"`
}

// answer is what a service's answer says of itself, and of its problem if it has one.
type answer struct {
	Code  string `json:"code"`
	Peer  string `json:"peer"`
	Trace struct {
		Service string `json:"service"`
		Caller  struct {
			Identity string `json:"identity"`
		} `json:"caller"`
		Hops []hop `json:"hops"`
	} `json:"trace"`
}

func (h hop) failed() bool { return h.Error != "" || h.Status/100 != 2 }

// ReadProbe makes a Probe of what a control call was answered: it is good only
// if the answer's trace shows that the call came to the target.
func ReadProbe(target string, call OperatorCall, status int, body []byte) *Probe {
	p := &Probe{Call: call.String()}
	var got answer
	if err := json.Unmarshal(body, &got); err != nil || got.Trace.Service == "" {
		// Nobody of ours answered: for the first service behind the gateway
		// that means that it is not there.
		p.Target = status == http.StatusServiceUnavailable && (target == "flight-director" || target == Console)
		p.Detail = fmt.Sprintf("somebody on the way answered %d", status)
		return p
	}
	if got.Trace.Service == target {
		p.OK = status == http.StatusOK
		p.Target = !p.OK
		p.Detail = fmt.Sprintf("%s answered %d", target, status)
		return p
	}
	reached := find(got.Trace.Hops, target)
	switch {
	case reached == nil:
		p.Detail = fmt.Sprintf("answered %d, but the call did not come to %s", status, target)
		if got.Peer != "" {
			p.Detail += fmt.Sprintf(": %s at %s", got.Code, got.Peer)
		}
	case reached.failed():
		p.Target = true
		p.Detail = fmt.Sprintf("%s of %s got %d %s", reached.From, target, reached.Status, reached.Error)
	default:
		p.OK = true
		p.Detail = fmt.Sprintf("%s %s of %s by %s was answered %d", reached.Method, reached.Path, target, reached.From,
			reached.Status)
	}
	return p
}

// find returns a hop to a service, one that failed before one that did not.
func find(hops []hop, target string) *hop {
	var found *hop
	for i := range hops {
		h := &hops[i]
		if h.To != target {
			h = find(h.Hops, target)
		}
		if h == nil {
			continue
		}
		if h.failed() {
			return h
		}
		found = h
	}
	return found
}
