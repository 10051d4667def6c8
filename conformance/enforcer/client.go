package enforcer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// window is how many requests are under way on a connection at once. Envoy ends
// a connection that pipelines local replies.
const window = 1

// client is one keep-alive connection that sends requests exactly as given.
type client struct {
	source netip.Addr
	dest   netip.AddrPort
	conf   *tls.Config
	conn   *tls.Conn
	in     *bufio.Reader
}

func (c *client) open(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.source, 0)), Timeout: 30 * time.Second}
	raw, err := d.DialContext(ctx, "tcp4", c.dest.String())
	if err != nil {
		return err
	}
	conn := tls.Client(raw, c.conf)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return err
	}
	c.conn, c.in = conn, bufio.NewReaderSize(conn, 32<<10)
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// await asks for the set until it is there, or Envoy has refused it.
func (c *client) await(ctx context.Context, set string, refused func() error) error {
	deadline := time.Now().Add(time.Minute)
	probe := Judged{Set: set, Request: Request{Method: "GET", Target: "/", Host: "probe"}}
	for {
		var v [1]Verdict
		if err := c.send(ctx, []Judged{probe}, []int{0}, v[:]); err != nil {
			return err
		}
		if v[0].Status == http.StatusOK {
			return nil
		}
		if v[0].Status != http.StatusNotFound || time.Now().After(deadline) {
			return fmt.Errorf("the set %s is not active: %+v", set, v[0])
		}
		if err := refused(); err != nil {
			return err
		}
	}
}

// send sends requests[i] for each i of mine and puts the answers into
// verdicts[i]. Envoy ends a connection after some errors; what it had not
// answered by then is sent again on a new one.
func (c *client) send(ctx context.Context, requests []Judged, mine []int, verdicts []Verdict) error {
	var out bytes.Buffer
	for fails := 0; len(mine) > 0; {
		if err := c.open(ctx); err != nil {
			return err
		}
		n := min(window, len(mine))
		out.Reset()
		for _, i := range mine[:n] {
			requests[i].write(&out, setHeader+": "+requests[i].Set+"\r\n")
		}
		_ = c.conn.SetDeadline(time.Now().Add(5 * time.Second))
		_, werr := c.conn.Write(out.Bytes())
		done := 0
		for done < n {
			i := mine[done]
			v, last, err := c.read(requests[i].Method)
			if err != nil {
				c.close()
				if done == 0 {
					if fails++; fails > 3 {
						return fmt.Errorf("%s %q: %w", requests[i].Method, requests[i].Target, errors.Join(werr, err))
					}
				}
				break
			}
			verdicts[i] = v
			fails = 0
			done++
			if last {
				c.close()
				break
			}
		}
		mine = mine[done:]
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// Bytes is the request as it goes over the wire, but for the header that names
// the policy set.
func (r *Request) Bytes() []byte {
	var out bytes.Buffer
	r.write(&out, "")
	return out.Bytes()
}

func (r *Request) write(out *bytes.Buffer, extra string) {
	out.WriteString(r.Method)
	out.WriteByte(' ')
	out.WriteString(r.Target)
	out.WriteString(" HTTP/1.1\r\nHost: ")
	out.WriteString(r.Host)
	out.WriteString("\r\n")
	out.WriteString(extra)
	for _, h := range r.Header {
		out.WriteString(h[0])
		out.WriteString(": ")
		out.WriteString(h[1])
		out.WriteString("\r\n")
	}
	out.WriteString("\r\n")
}

var head = &http.Request{Method: http.MethodHead}
var get = &http.Request{Method: http.MethodGet}

func (c *client) read(method string) (v Verdict, last bool, err error) {
	req := get
	if method == http.MethodHead {
		req = head
	}
	resp, err := http.ReadResponse(c.in, req)
	if err != nil {
		return Verdict{}, false, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	resp.Body.Close()
	if err != nil {
		return Verdict{}, false, err
	}
	v = Verdict{Status: resp.StatusCode, Details: resp.Header.Get("x-details"), Rule: resp.Header.Get("x-rule"), Path: resp.Header.Get("x-path")}
	if v.Details == "" {
		v.Body = string(body)
	}
	if v.Rule == "-" {
		v.Rule = ""
	}
	return v, resp.Close, nil
}
