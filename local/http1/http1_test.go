package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"artemis.example/policy/message"
	"github.com/google/go-cmp/cmp"
)

func TestBodiesArePassedOnAsTheyAreDelimited(t *testing.T) {
	for _, c := range []struct{ name, message, want string }{
		{"none", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""},
		{"sized", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", "hello"},
		{"chunks, extensions dropped", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " +
			"chunked\r\n\r\n5;a=b\r\nhello\r\n0A\r\n0123456789\r\n0\r\n\r\n",
			"5\r\nhello\r\na\r\n0123456789\r\n0\r\n\r\n"},
		{"trailers, sorted out", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nKeep: " +
			"1\r\nDrop: 2\r\n\r\n", "0\r\nKeep: 1\r\n\r\n"},
	} {
		for name, reader := range map[string]io.Reader{"at once": strings.NewReader(c.message + "NEXT"),
			"byte by byte": iotest.OneByteReader(strings.NewReader(c.message + "NEXT"))} {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				r := NewReader(reader)
				var h message.Head
				if err := r.ReadRequest(&h, nil); err != nil {
					t.Fatal(err)
				}
				var out bytes.Buffer
				if err := r.CopyBody(&out, &h, []byte("HEAD|"),
					func(n string) bool { return n == "Keep" }); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff("HEAD|"+c.want, out.String()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				rest, _ := io.ReadAll(io.MultiReader(bytes.NewReader(r.Take()), reader))
				if string(rest) != "NEXT" {
					t.Errorf("behind the message: %q", rest)
				}
			})
		}
	}
}

func TestBadChunksAreRefused(t *testing.T) {
	for _, chunks := range []string{"g\r\n", "\r\n", "-1\r\n", "+5\r\nhello\r\n", "0x5\r\nhello\r\n",
		"5\r\nhelloX\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n",
		"ffffffffffffffff\r\n", strings.Repeat("0", 2000) + "5\r\nhello\r\n", "0\r\nbad trailer\r\n\r\n", "5\r\nhel"} {
		r := NewReader(strings.NewReader("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks))
		var h message.Head
		if err := r.ReadRequest(&h, nil); err != nil {
			t.Fatal(err)
		}
		if err := r.CopyBody(io.Discard, &h, nil, nil); err == nil {
			t.Errorf("%.40q was passed on", chunks)
		}
	}
}

func TestResponsesWithoutABody(t *testing.T) {
	for _, c := range []struct {
		method, head string
		want         message.Body
	}{
		{"HEAD", "200 OK\r\nContent-Length: 5", message.NoBody},
		{"GET", "204 No Content", message.NoBody},
		{"GET", "304 Not Modified\r\nContent-Length: 5", message.NoBody},
		{"GET", "101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x", message.NoBody},
		{"GET", "200 OK\r\nContent-Length: 5", message.Sized},
		{"GET", "200\r\nContent-Length: 5", message.Sized},
		{"GET", "200 OK", message.UntilClose},
	} {
		var h message.Head
		if err := NewReader(strings.NewReader("HTTP/1.1 "+c.head+"\r\n\r\n")).ReadResponse(&h, c.method); err != nil ||
			h.Body != c.want {
			t.Errorf("%s %q: %v, %v; want %v", c.method, c.head, h.Body, err, c.want)
		}
	}
}

func TestFieldsOfTheConnectionStayBehind(t *testing.T) {
	var h message.Head
	sent := "GET / HTTP/1.1\r\nHost: x\r\nConnection: X-Private, close\r\nKeep-Alive: 1\r\nTE: " +
		"trailers\r\nX-Private: 1\r\nX-Public: 2\r\nProxy-Connection: y\r\n\r\n"
	if err := NewReader(strings.NewReader(sent)).ReadRequest(&h, nil); err != nil {
		t.Fatal(err)
	}
	var got []message.Field
	for f := range h.Kept {
		got = append(got, f)
	}
	if diff := cmp.Diff([]message.Field{{Name: "Host", Value: "x"}, {Name: "X-Public", Value: "2"}}, got); diff != "" ||
		!h.Close {
		t.Errorf("close %v, kept (-want +got):\n%s", h.Close, diff)
	}
}

// FuzzRequest checks that what is accepted is passed on as one message that the
// standard library's reader, which the pods use, reads in the same way.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: v\r\n\r\n",
		"GET http://y/z HTTP/1.0\r\nHost: x\r\nConnection: keep-alive, q\r\nQ: 1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(iotest.HalfReader(bytes.NewReader(b)))
		var h message.Head
		if err := r.ReadRequest(&h, nil); err != nil {
			return
		}
		var out bytes.Buffer
		fmt.Fprintf(&out, "%s / HTTP/1.1\r\nHost: %s\r\n", h.Method, h.Host)
		for f := range h.Kept {
			if strings.EqualFold(f.Name, "host") {
				continue
			}
			fmt.Fprintf(&out, "%s: %s\r\n", f.Name, f.Value)
		}
		out.WriteString("\r\n")
		head := out.Len()
		if err := r.CopyBody(&out, &h, nil, nil); err != nil {
			return
		}
		if h.Method == "CONNECT" {
			return
		}
		br := bufio.NewReader(bytes.NewReader(out.Bytes()))
		req, err := http.ReadRequest(br)
		if err != nil {
			if strings.Contains(err.Error(), "malformed Host") {
				return
			}
			t.Fatalf("the pod cannot read %q: %v", out.Bytes(), err)
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			t.Fatalf("the pod cannot read the body of %q: %v", out.Bytes(), err)
		}
		if rest, _ := io.ReadAll(br); len(rest) > 0 {
			t.Fatalf("the pod sees %q behind the message %q (head of %d bytes)", rest, out.Bytes(), head)
		}
	})
}

// FuzzResponse checks the same of what a pod answers, as a caller reads it.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\nT: v\r\n\r\n",
		"HTTP/1.0 404 Not Found\r\n\r\nuntil the end",
		"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(iotest.HalfReader(bytes.NewReader(b)))
		var h message.Head
		if err := r.ReadResponse(&h, "GET"); err != nil || h.Status/100 == 1 {
			return
		}
		var out bytes.Buffer
		fmt.Fprintf(&out, "HTTP/1.1 %d %s\r\n", h.Status, h.Reason)
		for f := range h.Kept {
			fmt.Fprintf(&out, "%s: %s\r\n", f.Name, f.Value)
		}
		out.WriteString("\r\n")
		if err := r.CopyBody(&out, &h, nil, nil); err != nil {
			return
		}
		br := bufio.NewReader(bytes.NewReader(out.Bytes()))
		res, err := http.ReadResponse(br, &http.Request{Method: "GET"})
		if err != nil {
			t.Fatalf("the caller cannot read %q: %v", out.Bytes(), err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatalf("the caller cannot read the body of %q: %v", out.Bytes(), err)
		}
		if rest, _ := io.ReadAll(br); len(rest) > 0 {
			t.Fatalf("the caller sees %q behind the answer %q", rest, out.Bytes())
		}
	})
}
