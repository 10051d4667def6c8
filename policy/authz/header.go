package authz

import (
	"net/textproto"
	"strings"
)

// inlineHeaders are the headers whose lines Envoy joins with a comma before any
// filter sees them (envoy/http/header_map.h, and the headers that extensions
// register); the lines of every other header are matched one by one. The list is
// what Envoy 1.40.0 was seen to join.
var inlineHeaders = map[string]bool{
	"Accept": true, "Accept-Encoding": true, "Access-Control-Request-Headers": true,
	"Access-Control-Request-Method":          true,
	"Access-Control-Request-Private-Network": true, "Authorization": true, "Cache-Control": true, "Connection": true,
	"Content-Encoding": true,
	"Content-Type":     true, "Expect": true, "Grpc-Accept-Encoding": true, "Grpc-Timeout": true, "If-Match": true,
	"If-Modified-Since": true, "If-None-Match": true, "If-Range": true, "If-Unmodified-Since": true, "Origin": true,
	"Pragma": true, "Proxy-Status": true, "Referer": true, "Upgrade": true, "User-Agent": true, "Via": true,
	"X-Client-Trace-Id":     true,
	"X-Envoy-Attempt-Count": true, "X-Envoy-Decorator-Operation": true, "X-Envoy-Downstream-Service-Cluster": true,
	"X-Envoy-Downstream-Service-Node": true, "X-Envoy-External-Address": true, "X-Envoy-Is-Timeout-Retry": true,
	"X-Envoy-Original-Host": true, "X-Envoy-Original-Path": true, "X-Forwarded-Client-Cert": true,
	"X-Forwarded-For":  true,
	"X-Forwarded-Host": true, "X-Forwarded-Port": true, "X-Forwarded-Proto": true, "X-Request-Id": true,
}

// Joined reports whether Envoy joins the lines of a header.
func Joined(name string) bool { return inlineHeaders[textproto.CanonicalMIMEHeaderKey(name)] }

// headerField makes the field for request.headers[name].
func headerField(name string) field {
	switch strings.ToLower(name) {
	case ":method":
		return field{attr: attrMethod}
	case ":authority", "host":
		return field{attr: attrHost}
	case ":path":
		return field{attr: attrTarget}
	case ":scheme":
		return field{attr: attrScheme}
	}
	// A request at a waypoint has no other pseudo-header: no client can send one,
	// and nobody adds it.
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	return field{attr: attrHeader, header: canonical, inline: inlineHeaders[canonical]}
}

func (f *field) anyHeader(ms []matcher, req *Request) bool {
	lines := req.Header[f.header]
	if len(lines) == 0 {
		return false
	}
	if f.inline && len(lines) > 1 {
		for i := range ms {
			if ms[i].matchesJoined(lines) {
				return true
			}
		}
		return false
	}
	for _, line := range lines {
		if anyString(ms, line) {
			return true
		}
	}
	return false
}

// matchesJoined matches the lines as if they stood in one, separated by commas;
// Envoy joins nothing to an empty line, nor an empty line to anything
// (source/common/http/header_map_impl.cc, appendToHeader).
func (m *matcher) matchesJoined(lines []string) bool {
	length := 0
	for _, l := range lines {
		if l != "" {
			if length > 0 {
				length++
			}
			length += len(l)
		}
	}
	var from int
	switch m.op {
	case opPresent:
		return true
	case opExact:
		if length != len(m.s) {
			return false
		}
	case opPrefix:
		if length < len(m.s) {
			return false
		}
	case opSuffix:
		if from = length - len(m.s); from < 0 {
			return false
		}
	default:
		return false
	}
	at := 0 // position in the joined value
	for _, l := range lines {
		if l == "" {
			continue
		}
		if at > 0 {
			if p := at - from; p >= 0 && p < len(m.s) && m.s[p] != ',' {
				return false
			}
			at++
		}
		for j := range len(l) {
			if p := at - from; p >= 0 && p < len(m.s) && m.s[p] != l[j] {
				return false
			}
			at++
		}
	}
	return true
}
