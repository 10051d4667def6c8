// Command misbehaving is a service that misbehaves: the fault suite gives it to the
// launcher in place of the services' program. A file says which components
// misbehave and how; it is read at the start and again for every request, so that
// the fault may change meanwhile. Every other component is the real service.
package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Set by the linker: the file of "COMPONENT FAULT" lines, and the real program.
var faults, service string

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--faults" {
		for _, name := range slices.Sorted(maps.Keys(misbehaviour)) {
			fmt.Println(name)
		}
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "misbehaving:", err)
		os.Exit(1)
	}
}

func run() error {
	if fault, err := current(); err != nil {
		return err
	} else if fault == nil {
		return syscall.Exec(service, []string{"service"}, os.Environ())
	}
	go func() { // to the probes it is in the best of health
		err := http.ListenAndServe(address("ADMIN_PORT", "9090"), http.HandlerFunc(func(http.ResponseWriter,
			*http.Request) {
		}))
		fmt.Fprintln(os.Stderr, "misbehaving:", err)
		os.Exit(1)
	}()
	ln, err := net.Listen("tcp", address("PORT", "8080"))
	if err != nil {
		return err
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go serve(c.(*net.TCPConn))
	}
}

func address(variable, otherwise string) string {
	return net.JoinHostPort(os.Getenv("LISTEN_ADDRESS"), cmp.Or(os.Getenv(variable), otherwise))
}

// A fault answers a request that was read; false ends the connection.
type fault func(*net.TCPConn) bool

// current returns the fault of this component, nil for none.
func current() (fault, error) {
	text, err := os.ReadFile(faults)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		if name, fault, _ := strings.Cut(strings.TrimSpace(line), " "); name == os.Getenv("SERVICE_ROLE") {
			if misbehaviour[fault] == nil {
				return nil, fmt.Errorf("there is no fault %q", fault)
			}
			return misbehaviour[fault], nil
		}
	}
	return nil, nil
}

func serve(c *net.TCPConn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		behave, err := current()
		if err != nil || behave == nil {
			fmt.Fprintln(os.Stderr, "misbehaving: no fault:", err)
			return
		}
		if !behave(c) {
			return
		}
	}
}

const (
	ok   = "HTTP/1.1 200 OK\r\n"
	json = ok + "Content-Type: application/json\r\n"
)

// misbehaviour is what there is, by name.
var misbehaviour = map[string]fault{
	// Slow.
	"silent":        await,
	"slow head":     drip(json+"Content-Length: 2\r\n\r\n{}", 1),
	"slow body":     after(json+"Content-Length: 4000\r\n\r\n", drip(" ", 4000)),
	"endless head":  after(ok, flood("X-More: of the same, and more of it, and no end of it\r\n")),
	"endless body":  after(json+"Transfer-Encoding: chunked\r\n\r\n", flood("10\r\n                \r\n")),
	"endless hints": flood("HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n"),
	// Resetting and half-closed.
	"reset":             reset,
	"reset in the head": after(json, reset),
	"reset in the body": after(json+"Content-Length: 4000\r\n\r\n{\"a\":", reset),
	"closed":            end,
	"half-closed":       func(c *net.TCPConn) bool { _ = c.CloseWrite(); return await(c) },
	"half an answer":    after(json+"Content-Length: 4000\r\n\r\n{\"a\":", end),
	// Lying.
	"garbage":       after("\x00\x16\x03\x01 no HTTP at all\r\n\r\n", end),
	"not JSON":      saying(ok+"Content-Type: text/html\r\n", "<html>all is well</html>"),
	"another shape": saying(json, `[{"trace":7},null,"frames"]`),
	"wrong kinds": saying(json,
		`{"trace":{"service":{"a":1}},"frames":"many","frame":[1],"contact":17,"alerts":{},"position":true,"crew":"four"}`),
	"another service": saying(json,
		`{"trace":{"service":"weather-station","caller":{}},"status":"nominal","contact":{"state":"live"}}`),
	"its own, wrong": saying(json, fmt.Sprintf(`{"trace":{"service":%q,"caller":{}},"contact":17,"frames":"many"}`,
		os.Getenv("SERVICE_ROLE"))),
	"deep":        saying(json, strings.Repeat(`{"a":`, 100_000)+"1"+strings.Repeat("}", 100_000)),
	"huge":        saying(json, `{"a":"`+strings.Repeat("x", 8<<20)+`"}`),
	"two lengths": after(json+"Content-Length: 2\r\nContent-Length: 200\r\n\r\n{}", proceed),
	"two framings": after(json+"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		proceed),
	// The second is for a question that nobody has asked yet.
	"two answers": func(c *net.TCPConn) bool { return saying(json, "{}")(c) && saying(json, forged)(c) },
	"elsewhere":   saying("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://guidance-nav:8080/position\r\n", ""),
	"upgrade":     after("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: mission\r\n\r\n", await),
	"other clock": clocked("liftoff=2020-01-01T00:00:00Z;scale=1e300"),
	"clock ahead": clocked("liftoff=2199-01-01T00:00:00Z;scale=1440"),
}

// forged is what no caller may ever take for the answer to a question of its own.
const forged = `{"forged":true}`

func proceed(*net.TCPConn) bool { return true }

func end(*net.TCPConn) bool { return false }

func reset(c *net.TCPConn) bool {
	_ = c.SetLinger(0)
	return false
}

// await says nothing until the peer is gone.
func await(c *net.TCPConn) bool {
	_, _ = io.Copy(io.Discard, c)
	return false
}

func after(text string, then fault) fault {
	return func(c *net.TCPConn) bool {
		_, err := io.WriteString(c, text)
		return err == nil && then(c)
	}
}

func saying(head, body string) fault {
	return after(fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(body), body), proceed)
}

// clocked answers for itself, with a mission clock that cannot be.
func clocked(header string) fault {
	return saying(json+"Artemis-Clock: "+header+"\r\n", fmt.Sprintf(`{"trace":{"service":%q,"caller":{}}}`,
		os.Getenv("SERVICE_ROLE")))
}

// drip says a text so many times, a byte a second.
func drip(text string, times int) fault {
	text = strings.Repeat(text, times)
	return func(c *net.TCPConn) bool {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for i := range text {
			if _, err := io.WriteString(c, text[i:i+1]); err != nil {
				return false
			}
			<-tick.C
		}
		return true
	}
}

func flood(text string) fault {
	text = strings.Repeat(text, 100)
	return func(c *net.TCPConn) bool {
		for {
			if _, err := io.WriteString(c, text); err != nil {
				return false
			}
		}
	}
}
