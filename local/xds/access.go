package xds

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"artemis.example/policy/decision"
)

// AccessLogFormat is the format, as istiod takes it, of the lines that
// ParseAccess reads (envoyproxy.io, "Access log format strings").
const AccessLogFormat = `{"artemis":"access","at":"%START_TIME(%s.%6f)%","xfcc":"%REQ(X-FORWARDED-CLIENT-CERT)%",` +
	`"caller":"%DOWNSTREAM_REMOTE_ADDRESS%","to":"%DOWNSTREAM_LOCAL_ADDRESS%","method":"%REQ(:METHOD)%","path":"%REQ(:PATH)%",` +
	`"traceparent":"%REQ(TRACEPARENT)%","status":"%RESPONSE_CODE%","details":"%RESPONSE_CODE_DETAILS%",` +
	`"termination":"%CONNECTION_TERMINATION_DETAILS%","flags":"%RESPONSE_FLAGS%","ms":"%DURATION%"}`

type accessLine struct {
	Artemis     string `json:"artemis"`
	At          any    `json:"at"`
	XFCC        any    `json:"xfcc"`
	Caller      any    `json:"caller"`
	To          any    `json:"to"`
	Method      any    `json:"method"`
	Path        any    `json:"path"`
	Traceparent any    `json:"traceparent"`
	Status      any    `json:"status"`
	Details     any    `json:"details"`
	Termination any    `json:"termination"`
	Flags       any    `json:"flags"`
	MS          any    `json:"ms"`
}

// ParseAccess reads one line of an Envoy's output; ok is false where it is none
// of the access log.
func ParseAccess(line []byte) (_ decision.Access, ok bool, err error) {
	if len(line) == 0 || line[0] != '{' {
		return decision.Access{}, false, nil
	}
	var l accessLine
	if err := json.Unmarshal(line, &l); err != nil || l.Artemis != "access" {
		return decision.Access{}, false, nil
	}
	a := decision.Access{Method: text(l.Method), Trace: text(l.Traceparent), Details: text(l.Details)}
	a.Path, _, _ = strings.Cut(text(l.Path), "?")
	a.Caller = callerOf(text(l.XFCC))
	// Addresses that are none, such as that of an internal listener, stay zero.
	a.Remote, _ = netip.ParseAddrPort(text(l.Caller))
	a.To, _ = netip.ParseAddrPort(text(l.To))
	var seconds, ms float64
	if _, err := fmt.Sscan(text(l.At), &seconds); err != nil {
		return a, true, fmt.Errorf("access log: the time %q: %w", text(l.At), err)
	}
	a.At = time.UnixMicro(int64(seconds * 1e6))
	if _, err := fmt.Sscan(text(l.MS), &ms); err == nil {
		a.Duration = time.Duration(ms * float64(time.Millisecond))
	}
	if s := text(l.Status); s != "" {
		if _, err := fmt.Sscan(s, &a.Status); err != nil {
			return a, true, fmt.Errorf("access log: the status %q: %w", s, err)
		}
	}
	if a.Method == "" {
		a.Status = 0
		a.Details = text(l.Termination)
	}
	a.Denied = strings.HasPrefix(a.Details, "rbac_access_denied")
	if a.Details == "" {
		a.Details = text(l.Flags)
	}
	return a, true, nil
}

// text returns a value of the log; Envoy writes "-" or null for what there is not.
func text(v any) string {
	switch v := v.(type) {
	case string:
		if v != "-" {
			return v
		}
	case float64:
		return fmt.Sprintf("%.6f", v)
	}
	return ""
}

// callerOf returns the caller of an x-forwarded-client-cert that a waypoint has
// made: By=WAYPOINT;URI=CALLER.
func callerOf(xfcc string) string {
	last := xfcc[strings.LastIndexByte(xfcc, ',')+1:]
	for part := range strings.SplitSeq(last, ";") {
		if id, ok := strings.CutPrefix(part, "URI="); ok {
			return strings.Trim(id, `"`)
		}
	}
	return ""
}
