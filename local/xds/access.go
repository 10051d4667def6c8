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

// ParseAccess reads one line of an Envoy's output; ok is false where it is none
// of the access log.
func ParseAccess(line []byte) (_ decision.Access, ok bool, err error) {
	var l map[string]any
	if len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &l) != nil || l["artemis"] != "access" {
		return decision.Access{}, false, nil
	}
	field := func(name string) string { return text(l[name]) }
	a := decision.Access{Method: field("method"), Trace: field("traceparent"), Details: field("details")}
	a.Path, _, _ = strings.Cut(field("path"), "?")
	a.Caller = callerOf(field("xfcc"))
	// Addresses that are none, such as that of an internal listener, stay zero.
	a.Remote, _ = netip.ParseAddrPort(field("caller"))
	a.To, _ = netip.ParseAddrPort(field("to"))
	var seconds, ms float64
	if _, err := fmt.Sscan(field("at"), &seconds); err != nil {
		return a, true, fmt.Errorf("access log: the time %q: %w", field("at"), err)
	}
	a.At = time.UnixMicro(int64(seconds * 1e6))
	if _, err := fmt.Sscan(field("ms"), &ms); err == nil {
		a.Duration = time.Duration(ms * float64(time.Millisecond))
	}
	if s := field("status"); s != "" {
		if _, err := fmt.Sscan(s, &a.Status); err != nil {
			return a, true, fmt.Errorf("access log: the status %q: %w", s, err)
		}
	}
	if a.Method == "" {
		a.Status = 0
		a.Details = field("termination")
	}
	a.Denied = strings.HasPrefix(a.Details, "rbac_access_denied")
	if a.Details == "" {
		a.Details = field("flags")
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
