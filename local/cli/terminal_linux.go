package cli

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// relay is a terminal of a command's own, shown on ours: the command is in
// another session, where ours cannot be its controlling terminal.
type relay struct {
	in, out       *os.File
	master, inner *os.File
	saved         *unix.Termios
	resized       chan os.Signal
	copied        sync.WaitGroup
}

// newRelay makes the terminal, as pts(4) says.
func newRelay(in, out *os.File) (*relay, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	r := &relay{in: in, out: out, master: master, resized: make(chan os.Signal, 1)}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		r.inner, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		master.Close()
		return nil, err
	}
	r.resize()
	return r, nil
}

func (r *relay) resize() {
	if size, err := unix.IoctlGetWinsize(int(r.out.Fd()), unix.TIOCGWINSZ); err == nil {
		_ = unix.IoctlSetWinsize(int(r.master.Fd()), unix.TIOCSWINSZ, size)
	}
}

// start puts our terminal into raw mode and copies both ways.
func (r *relay) start() {
	r.inner.Close() // the command has its own by now, or never will
	if saved, err := unix.IoctlGetTermios(int(r.in.Fd()), unix.TCGETS); err == nil {
		r.saved = saved
		raw := *saved // as cfmakeraw(3)
		raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
		raw.Oflag &^= unix.OPOST
		raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
		raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
		_ = unix.IoctlSetTermios(int(r.in.Fd()), unix.TCSETS, &raw)
	}
	signal.Notify(r.resized, syscall.SIGWINCH)
	go func() {
		for range r.resized {
			r.resize()
		}
	}()
	go func() { _, _ = io.Copy(r.master, r.in) }() // ends with this process
	r.copied.Go(func() { _, _ = io.Copy(r.out, r.master) })
}

// drain waits for the command's last output: the terminal hangs up when nobody
// holds its inner end.
func (r *relay) drain() {
	done := make(chan struct{})
	go func() { r.copied.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Second): // something the command left still holds it
	}
}

// Close returns our terminal back as it was.
func (r *relay) Close() error {
	signal.Stop(r.resized)
	if r.saved != nil {
		if err := unix.IoctlSetTermios(int(r.in.Fd()), unix.TCSETS, r.saved); err != nil {
			return fmt.Errorf("give the terminal back: %w", err)
		}
	}
	return r.master.Close()
}

// foreground returns a command the terminal that is its standard input.
func foreground(terminal bool) *syscall.SysProcAttr {
	if !terminal {
		return nil
	}
	return &syscall.SysProcAttr{Setpgid: true, Foreground: true, Ctty: 0}
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
