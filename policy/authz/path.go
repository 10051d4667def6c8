package authz

import (
	"errors"
	"strings"
)

// ErrPath is returned for a request target that Envoy answers with 400 before
// it looks at any policy.
var ErrPath = errors.New("the path cannot be normalised")

// NormalizePath returns a request target's path as Envoy makes it with Istio's
// default, BASE, before it matches and forwards it: dot segments resolved,
// backslashes turned, unreserved characters unescaped and unsafe ones escaped,
// while double slashes and escaped slashes stay. A query stays as it is, a
// fragment is cut off (Istio's bootstrap sets http_reject_path_with_fragment to
// false), and so are the parameters of a dot segment: /a/..;x/b is /b. A target
// with a control character or a byte beyond ASCII is refused, as is one with %00
// in its path. The rules are those of Chromium's URL canonicaliser, which Envoy
// uses (source/common/http/path_utility.cc, googleurl url/url_canon_path.cc). A
// path that is normal already is returned as it came.
func NormalizePath(raw string) (string, error) {
	if raw == "" || raw[0] != '/' {
		return "", ErrPath
	}
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c >= 0x7f {
			return "", ErrPath
		}
	}
	raw, _, _ = strings.Cut(raw, "#")
	path, query := raw, ""
	if i := strings.IndexByte(raw, '?'); i >= 0 {
		path, query = raw[:i], raw[i:]
	}
	if isNormal(path) {
		return raw, nil
	}
	c := canonicalizer{in: withoutDotParameters(path), out: make([]byte, 0, len(path)+16), badPercent: -10}
	if !c.run() {
		return "", ErrPath
	}
	return string(c.out) + query, nil
}

// withoutDotParameters takes what follows a semicolon off segments that are one
// or two literal dots up to it.
func withoutDotParameters(path string) string {
	if !strings.Contains(path, ".;") {
		return path
	}
	var b strings.Builder
	for i, segment := range strings.Split(path, "/") {
		if i > 0 {
			b.WriteByte('/')
		}
		if strings.HasPrefix(segment, ".;") || strings.HasPrefix(segment, "..;") {
			segment, _, _ = strings.Cut(segment, ";")
		}
		b.WriteString(segment)
	}
	return b.String()
}

// class is what becomes of a character.
type class uint8

const (
	pass     class = iota // as it is, escaped or not
	unescape              // never escaped
	escape                // always escaped
	invalid
)

func classOf(c byte) class {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '~':
		return unescape
	case c == 0:
		return invalid
	case c < 0x21, c >= 0x7f:
		return escape
	}
	if strings.IndexByte("\"#%<>?\\^`{|}", c) >= 0 {
		return escape
	}
	return pass
}

// isNormal reports whether a path needs no work: no character that is escaped,
// unescaped or turned, and no segment that starts with a dot.
func isNormal(path string) bool {
	for i := range len(path) {
		c := path[i]
		switch classOf(c) {
		case escape, invalid:
			return false
		}
		if c == '.' && path[i-1] == '/' { // path[0] is a slash
			return false
		}
	}
	return true
}

type canonicalizer struct {
	in  string
	out []byte
	// badPercent is where in out a percent sign stands that begins no escape.
	badPercent int
}

func (c *canonicalizer) run() bool {
	ok := true
	for i := 0; i < len(c.in); {
		ch := c.in[i]
		if n := dot(c.in[i:]); n > 0 {
			i += c.dots(i, n)
			continue
		}
		switch {
		case ch == '\\':
			c.out = append(c.out, '/')
			i++
		case ch == '%':
			v, valid := unhex(c.in[i:])
			if !valid {
				c.badPercent = len(c.out)
				c.out = append(c.out, '%')
				i++
				break
			}
			switch classOf(v) {
			case unescape:
				c.out = append(c.out, v)
				i += 3
				if c.badPercent >= len(c.out)-3 {
					c.nested(i)
				}
			case invalid:
				ok = false
				fallthrough
			default:
				c.out = append(c.out, c.in[i:i+3]...)
				i += 3
			}
		default:
			switch classOf(ch) {
			case invalid:
				ok = false
				fallthrough
			case escape:
				c.out = append(c.out, '%', hex[ch>>4], hex[ch&15])
			default:
				c.out = append(c.out, ch)
			}
			i++
		}
	}
	return ok
}

const hex = "0123456789ABCDEF"

// dot returns the length of a dot at the start of s, escaped or not, or 0.
func dot(s string) int {
	if s != "" && s[0] == '.' {
		return 1
	}
	if len(s) >= 3 && s[0] == '%' && s[1] == '2' && (s[2] == 'e' || s[2] == 'E') {
		return 3
	}
	return 0
}

func slash(b byte) bool { return b == '/' || b == '\\' }

// dots deals with the dot of length n at in[i] and returns how much of the input
// it used.
func (c *canonicalizer) dots(i, n int) int {
	if len(c.out) == 0 || c.out[len(c.out)-1] != '/' {
		c.out = append(c.out, '.')
		return n
	}
	rest := c.in[i+n:]
	if rest == "" {
		return n
	}
	if slash(rest[0]) {
		return n + 1
	}
	if m := dot(rest); m > 0 {
		switch {
		case len(rest) == m:
			c.up()
			return n + m
		case slash(rest[m]):
			c.up()
			return n + m + 1
		}
	}
	c.out = append(c.out, '.')
	return n
}

// up takes the last segment off the output, which ends in a slash.
func (c *canonicalizer) up() {
	last := len(c.out) - 1
	if last == 0 {
		return
	}
	for last--; last > 0 && c.out[last] != '/'; last-- {
	}
	c.out = c.out[:last+1]
	if c.badPercent >= len(c.out) {
		c.badPercent = -10
	}
}

// nested escapes a stray percent sign when unescaping what follows it would
// make it the beginning of a new escape: %%30%30 must not become %00.
func (c *canonicalizer) nested(next int) {
	n := len(c.out)
	lastChar := c.out[n-1]
	appended := c.badPercent == n-2
	if appended {
		if next >= len(c.in) || c.in[next] >= 0x80 {
			return
		}
		c.out = append(c.out, c.in[next])
	}
	if _, ok := unhex(string(c.out[c.badPercent:])); ok {
		if !appended {
			c.out = append(c.out, c.out[c.badPercent+1])
		}
		c.out[c.badPercent+1], c.out[c.badPercent+2] = '2', '5'
		c.out = append(c.out, lastChar)
		return
	}
	if appended {
		c.out = c.out[:n]
	}
}

func unhex(s string) (byte, bool) {
	if len(s) < 3 || s[0] != '%' {
		return 0, false
	}
	hi, ok := hexValue(s[1])
	if !ok {
		return 0, false
	}
	lo, ok := hexValue(s[2])
	return hi<<4 | lo, ok
}

func hexValue(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
