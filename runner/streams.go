//go:build linux

package runner

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// sink is one who watches a container's output. An error removes it; errUnread
// ends the stream.
type sink func(stream byte, p []byte) error

// errUnread says that a container in the foreground writes where nobody reads
// any more: its program shall hear of it, as in a pipeline without a container.
var errUnread = errors.New("nobody reads the output")

// streams joins a container's process with its log and with those attached.
// A slow watcher slows the process, as a pipe would; nothing is dropped.
type streams struct {
	log *logWriter

	mu      sync.Mutex // guards what follows; taken before the log's
	sinks   map[int]sink
	next    int
	stdin   *os.File // what feeds the process: a pipe's end, or the terminal
	console *os.File // the terminal's master, nil without one
	signal  func(unix.Signal) error
	rows    uint16
	columns uint16
}

func (s *streams) add(to sink) (id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sinks == nil {
		s.sinks = map[int]sink{}
	}
	s.next++
	s.sinks[s.next] = to
	return s.next
}

func (s *streams) remove(id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sinks, id)
}

func (s *streams) emit(stream byte, p []byte) error {
	name := "stdout"
	if stream == frameStderr {
		name = "stderr"
	}
	s.log.write(name, p)
	s.mu.Lock()
	all := make(map[int]sink, len(s.sinks))
	for id, to := range s.sinks {
		all[id] = to
	}
	s.mu.Unlock()
	for id, to := range all {
		if err := to(stream, p); err == errUnread {
			return err
		} else if err != nil {
			s.remove(id)
		}
	}
	return nil
}

// pump carries one of the process's streams until its end.
func (s *streams) pump(stream byte, r io.ReadCloser) {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if s.emit(stream, buf[:n]) != nil {
				r.Close()
				return
			}
		}
		// A terminal whose last user is gone answers EIO.
		if err != nil {
			return
		}
	}
}

func (s *streams) input(p []byte) error {
	s.mu.Lock()
	in := s.stdin
	s.mu.Unlock()
	if in == nil {
		return io.ErrClosedPipe
	}
	_, err := in.Write(p)
	return err
}

// closeInput ends the process's standard input. A terminal has no such end:
// there the line discipline's end-of-file character is typed.
func (s *streams) closeInput() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.console != nil || s.stdin == nil {
		return
	}
	s.stdin.Close()
	s.stdin = nil
}

func (s *streams) resize(rows, columns uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows, s.columns = rows, columns
	if s.console != nil {
		unix.IoctlSetWinsize(int(s.console.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	}
}

// serve speaks with one attached client until either side ends.
func (s *streams) serve(conn net.Conn, exit <-chan lastExit, stdinOnce bool) {
	defer conn.Close()
	var out sync.Mutex
	send := func(kind byte, p []byte) error {
		out.Lock()
		defer out.Unlock()
		return writeFrame(conn, kind, p)
	}
	id := s.add(send)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		s.listen(conn, stdinOnce)
	}()
	select {
	case e := <-exit:
		s.remove(id)
		send(frameExit, []byte{byte(e.ExitCode)})
	case <-gone:
		s.remove(id)
	}
}

func (s *streams) listen(conn net.Conn, stdinOnce bool) {
	buf := make([]byte, frameMax)
	for {
		kind, p, err := readFrame(conn, buf)
		if err != nil {
			return
		}
		switch kind {
		case frameStdin:
			s.input(p)
		case frameEOF:
			if stdinOnce {
				s.closeInput()
			}
		case frameResize:
			if len(p) == 4 {
				s.resize(uint16(p[0])<<8|uint16(p[1]), uint16(p[2])<<8|uint16(p[3]))
			}
		case frameSignal:
			if len(p) == 1 && s.signal != nil {
				s.signal(unix.Signal(p[0]))
			}
		}
	}
}

func (s *streams) connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stdin != nil
}
