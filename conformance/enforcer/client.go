package enforcer

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2"
)

// client is one HBONE connection with one tunnel at a time that sends requests exactly
// as given.
type client struct {
	source   netip.Addr
	waypoint netip.AddrPort
	dest     netip.AddrPort
	conf     *tls.Config
	//lint:ignore SA1019 a connection of one's own that is no pool's: net/http's has no CONNECT with a stream body
	hbone *http2.ClientConn
	out   *io.PipeWriter
	body  io.ReadCloser
	in    *bufio.Reader
}

// open opens a tunnel, if none is open. Envoy may be about to end the connection.
func (c *client) open(ctx context.Context) error {
	var err error
	for attempt := 0; c.out == nil && attempt < 3; attempt++ {
		err = c.tunnel(ctx)
	}
	return err
}

func (c *client) tunnel(ctx context.Context) error {
	if c.hbone == nil || !c.hbone.CanTakeNewRequest() {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.source, 0)), Timeout: 30 * time.Second}
		raw, err := d.DialContext(ctx, "tcp4", c.waypoint.String())
		if err != nil {
			return err
		}
		conn := tls.Client(raw, c.conf)
		if err := conn.HandshakeContext(ctx); err != nil {
			raw.Close()
			return err
		}
		//lint:ignore SA1019 as above
		if c.hbone, err = (&http2.Transport{}).NewClientConn(conn); err != nil {
			conn.Close()
			return err
		}
	}
	in, out := io.Pipe()
	req := &http.Request{Method: http.MethodConnect, Host: c.dest.String(), URL: &url.URL{Scheme: "https",
		Host: c.dest.String()}, Header: http.Header{}, Body: in}
	resp, err := c.hbone.RoundTrip(req.WithContext(context.WithoutCancel(ctx)))
	if err != nil {
		c.hbone.Close()
		c.hbone = nil
		return fmt.Errorf("open a tunnel to %s at %s: %w", c.dest, c.waypoint, err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return fmt.Errorf("open a tunnel to %s: %s", c.dest, resp.Status)
	}
	c.out, c.body = out, resp.Body
	c.in = bufio.NewReaderSize(resp.Body, 32<<10)
	return nil
}

// within has the tunnel end when what is done with it takes too long.
func (c *client) within(d time.Duration) (stop func()) {
	body := c.body
	t := time.AfterFunc(d, func() { body.Close() })
	return func() { t.Stop() }
}

// end ends the tunnel, the connection stays.
func (c *client) end() {
	if c.out != nil {
		c.out.Close()
		c.body.Close()
		c.out = nil
	}
}

func (c *client) close() {
	c.end()
	if c.hbone != nil {
		c.hbone.Close()
		c.hbone = nil
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
// verdicts[i]. Envoy ends a tunnel after some errors; the next request then goes
// through another one.
func (c *client) send(ctx context.Context, requests []Judged, mine []int, verdicts []Verdict) error {
	var out bytes.Buffer
	for _, i := range mine {
		for attempt := 0; ; attempt++ {
			if err := c.open(ctx); err != nil {
				return err
			}
			out.Reset()
			requests[i].write(&out, setHeader+": "+requests[i].Set+"\r\n")
			stop := c.within(5 * time.Second)
			_, werr := c.out.Write(out.Bytes())
			v, last, err := c.read(requests[i].Method)
			stop()
			if err == nil {
				verdicts[i] = v
				if last {
					c.end()
				}
				break
			}
			c.end()
			if err := ctx.Err(); err != nil {
				return err
			}
			if attempt >= 3 {
				return fmt.Errorf("%s %q: %w", requests[i].Method, requests[i].Target, errors.Join(werr, err))
			}
		}
	}
	return ctx.Err()
}

// Bytes is the request as it goes over the wire, but for the header that names
// the policy set.
func (r *Request) Bytes() []byte {
	var out bytes.Buffer
	r.write(&out, "")
	return out.Bytes()
}

func (r *Request) write(out *bytes.Buffer, extra string) {
	fmt.Fprintf(out, "%s %s %s\r\n", r.Method, r.Target, cmp.Or(r.Version, "HTTP/1.1"))
	if !r.NoHost {
		out.WriteString("Host: " + r.Host + "\r\n")
	}
	out.WriteString(extra)
	chunked := false
	for _, h := range r.Header {
		out.WriteString(h[0] + ": " + h[1] + "\r\n")
		chunked = chunked || strings.EqualFold(h[0], "transfer-encoding")
	}
	out.WriteString("\r\n")
	if chunked {
		out.WriteString("0\r\n\r\n")
	}
}

func (c *client) read(method string) (v Verdict, last bool, err error) {
	resp, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		return Verdict{}, false, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	resp.Body.Close()
	if err != nil {
		return Verdict{}, false, err
	}
	v = Verdict{Status: resp.StatusCode, Details: resp.Header.Get("x-details"), Rule: resp.Header.Get("x-rule"),
		Body: string(body)}
	if seen := resp.Header.Get("x-seen"); seen != "" && seen != "-" {
		for line := range strings.SplitSeq(seen, "%&") {
			if !strings.HasPrefix(line, setHeader+"=") {
				v.Seen = append(v.Seen, line)
			}
		}
		slices.Sort(v.Seen)
	}
	if v.Rule == "-" {
		v.Rule = ""
	}
	return v, resp.Close, nil
}
