//go:build linux

package netns_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// cheatCommand makes the test binary a program in a pod.
const cheatCommand = "cheat"

// cheat does what its arguments say and tells by one line how it went.
func cheat(args []string) int {
	result, err := cheats()[args[0]](args[1:])
	if err != nil {
		fmt.Println("refused:", err)
		return 3
	}
	fmt.Println("done:", result)
	return 0
}

func cheats() map[string]func([]string) (string, error) {
	done := func(err error) (string, error) { return "", err }
	dial := func(network string, a []string) (string, error) {
		c, err := net.DialTimeout(network, a[0], 2*time.Second)
		if err != nil {
			return "", err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return "", err
		}
		if _, err := c.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
			return "", err
		}
		b := make([]byte, 256)
		n, err := c.Read(b)
		return string(b[:n]), err
	}
	socket := func(domain, kind, protocol int) (string, error) {
		fd, err := unix.Socket(domain, kind, protocol)
		if err == nil {
			err = unix.Close(fd)
		}
		return "", err
	}
	return map[string]func([]string) (string, error){
		"serve": func(a []string) (string, error) {
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprintf(w, "%s to %s", a[1], r.RemoteAddr)
			})
			return done(http.ListenAndServe(a[0], h))
		},
		"tcp":    func(a []string) (string, error) { return dial("tcp", a) },
		"udp":    func(a []string) (string, error) { return dial("udp", a) },
		"unix":   func(a []string) (string, error) { return dial("unix", a) },
		"raw":    func([]string) (string, error) { return socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_TCP) },
		"packet": func([]string) (string, error) { return socket(unix.AF_PACKET, unix.SOCK_RAW, 0) },
		"mark": func([]string) (string, error) {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			if err != nil {
				return "", err
			}
			return done(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, 0x539))
		},
		"source": func(a []string) (string, error) { // dials from an address that is another's
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(a[0])}, Timeout: 2 * time.Second}
			c, err := d.Dial("tcp4", a[1])
			if err != nil {
				return "", err
			}
			defer c.Close()
			if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
				return "", err
			}
			if _, err := c.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
				return "", err
			}
			b := make([]byte, 256)
			n, err := c.Read(b)
			return string(b[:n]), err
		},
		"listen": func(a []string) (string, error) { _, err := net.Listen("tcp4", a[0]); return done(err) },
		"write":  func(a []string) (string, error) { return done(os.WriteFile(a[0], []byte("x"), 0o600)) },
		"read":   func(a []string) (string, error) { b, err := os.ReadFile(a[0]); return string(b), err },
		"mount": func([]string) (string, error) {
			return done(unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, ""))
		},
		"netlink": func([]string) (string, error) { return done(deleteRoutes()) },
		"nft":     func([]string) (string, error) { return done(flushRules()) },
		"setns": func(a []string) (string, error) {
			fd, err := unix.Open("/proc/1/ns/net", unix.O_RDONLY, 0)
			if err != nil {
				return "", err
			}
			return done(unix.Setns(fd, unix.CLONE_NEWNET))
		},
		"list":      list,
		"open":      openDescriptors,
		"processes": processes,
		"chmod": func(a []string) (string, error) { // as CVE-2019-5736: through a descriptor opened for reading
			f, err := os.Open(a[0])
			if err != nil {
				return "", err
			}
			return done(f.Chmod(0o4755))
		},
		"call":    func(a []string) (string, error) { return done(calls()[a[0]]()) },
		"fork":    fork,
		"eat":     eat,
		"hold":    hold,
		"sleep":   func([]string) (string, error) { time.Sleep(time.Minute); return "", nil },
		"resolve": func(a []string) (string, error) { x, err := net.LookupHost(a[0]); return fmt.Sprint(x), err },
		"look":    func([]string) (string, error) { i, err := net.Interfaces(); return fmt.Sprint(len(i)), err },
	}
}
