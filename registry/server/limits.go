package server

import (
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A body may rest for bodyIdle, and must on the whole come or go at no less than
// slowest bytes a second, or the connection ends: who holds one open must use it.
const (
	bodyIdle = time.Minute
	slowest  = 1 << 10
)

// paced is one direction of a connection and its deadline, from its beginning on: an
// answer may wait for as long as its request takes.
type paced struct {
	start time.Time
	idle  time.Duration
	n     int64
	set   func(time.Time) error
	next  time.Time // when the deadline is to be moved again
}

// begin sets the first deadline.
func (p *paced) begin() {
	if p.start.IsZero() {
		p.start = time.Now()
		p.passed(0)
	}
}

// passed counts bytes and moves the deadline, not more often than it helps.
func (p *paced) passed(n int) {
	p.n += int64(n)
	now := time.Now()
	if now.Before(p.next) {
		return
	}
	p.next = now.Add(p.idle / 60)
	due := p.start.Add(p.idle + time.Duration(p.n/slowest)*time.Second)
	if far := now.Add(p.idle); far.Before(due) {
		due = far
	}
	_ = p.set(due) // a writer that knows no deadlines is a test's
}

func (s *Server) pace(set func(time.Time) error) *paced {
	return &paced{idle: s.o.BodyIdle, set: set}
}

// pacedBody is a request's body under its deadline.
type pacedBody struct {
	io.ReadCloser
	p *paced
}

func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF { // what follows is our own work, and may take its time
		_ = b.p.set(time.Time{})
	}
	if err != nil {
		return n, err
	}
	b.p.passed(n)
	return n, nil
}

// paceRequest puts a request and its answer under deadlines. The request stays as it
// came: by its body net/http sees whether a client waits for 100 Continue, and would
// read what is never sent before it sends a refusal.
func (s *Server) paceRequest(w *countingWriter, r *http.Request) *http.Request {
	c := http.NewResponseController(w.ResponseWriter)
	w.pace = s.pace(c.SetWriteDeadline)
	if len(r.TransferEncoding) > 0 && r.ProtoMajor == 1 {
		// There may have been a length, too, that a proxy before us believed; what
		// follows on this connection would then be somebody else's (RFC 9112, 6.1).
		w.Header().Set("Connection", "close")
	}
	if r.Body == nil || r.Body == http.NoBody {
		return r
	}
	body := s.pace(c.SetReadDeadline)
	body.begin()
	paced := *r
	paced.Body = &pacedBody{r.Body, body}
	return &paced
}

// sendAtOnce is what the kernel sends from a file before the deadline moves.
const sendAtOnce = 256 << 10

// ReadFrom lets the kernel send a file by itself, a piece at a time.
func (c *countingWriter) ReadFrom(r io.Reader) (int64, error) {
	to, fast := c.ResponseWriter.(io.ReaderFrom)
	from, bounded := r.(*io.LimitedReader)
	if !fast || !bounded {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	var total int64
	for from.N > 0 {
		piece := min(from.N, sendAtOnce)
		n, err := to.ReadFrom(io.LimitReader(from.R, piece))
		total += n
		from.N -= n
		c.bytes += n
		c.pace.passed(int(n))
		if err != nil || n < piece {
			return total, err
		}
	}
	return total, nil
}

// expected tells whether a request was meant for us: a web page whose name was
// bound to a loopback address must not reach a registry that trusts its machine.
func (s *Server) expected(r *http.Request) bool {
	if len(s.o.Hosts) == 0 {
		return true
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() || host == "localhost" || slices.Contains(s.o.Hosts, host)
}
