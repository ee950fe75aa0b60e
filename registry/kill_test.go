package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry/server"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestMain lets the test binary be a process that moves one blob, to be killed.
func TestMain(m *testing.M) {
	if what := os.Getenv("HOD_MOVE"); what != "" {
		if err := move(what, os.Getenv("HOD_MOVE_STORE"), os.Getenv("HOD_MOVE_NAME")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if name := os.Getenv("HOD_ASK"); name != "" {
		os.Exit(askOne(name))
	}
	os.Exit(m.Run())
}

const (
	movedSize = 24 << 20
	killAfter = 3 << 20 // bytes that a process moves before it is killed
)

func move(what, root, name string) error {
	store, err := layers.Open(root, layers.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	n, err := layers.ParseName(name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(os.Getenv("HOD_MOVE_LOG"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	c, ctx := New(Options{Progress: suicide(f)}), context.Background()
	d := ocispec.Descriptor{MediaType: "application/octet-stream", Digest: n.Digest, Size: movedSize}
	if what == "down" {
		s, err := c.dial(n, toPull)
		if err != nil {
			return err
		}
		return s.fetchBlob(ctx, store, d, keepBlob(d))
	}
	r, err := c.Repository(ctx, store, name, true)
	if err != nil {
		return err
	}
	return r.Put(ctx, d, nil)
}

// suicide is a progress that writes down from where to where a process came, and
// kills it when that is far enough.
func suicide(log io.Writer) func(Event) {
	var mu sync.Mutex
	start := int64(-1)
	return func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Action != "download" && e.Action != "upload" {
			return
		}
		if start < 0 {
			start = e.Current
		}
		if e.Current-start >= killAfter || e.Current == movedSize {
			fmt.Fprintln(log, start, e.Current)
		}
		if e.Current-start >= killAfter && os.Getenv("HOD_MOVE_SPARE") == "" {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}
}

// counter counts the bytes of blobs that pass.
type counter struct {
	inner http.Handler
	bytes atomic.Int64
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.URL.Path, "/blobs/") && r.Method != http.MethodHead {
		w = &countedAnswer{w, c}
		r.Body = &countedBody{r.Body, c}
	}
	c.inner.ServeHTTP(w, r)
}

type countedAnswer struct {
	http.ResponseWriter
	c *counter
}

func (w *countedAnswer) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.c.bytes.Add(int64(n))
	return n, err
}

type countedBody struct {
	io.ReadCloser
	c *counter
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.c.bytes.Add(int64(n))
	return n, err
}

// moveOn starts the process anew until it ends by itself, and tells how often it
// was killed.
func moveOn(t *testing.T, env ...string) int {
	t.Helper()
	for killed := 0; ; killed++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		if err == nil {
			return killed
		}
		if len(out) > 0 || killed > 20 {
			t.Fatalf("after %d kills: %v: %s", killed, err, out)
		}
	}
}

// TestKilledTransfersGoOn kills the process that moves a blob, down and up, each
// time that a part of it has passed. The next one goes on where it was.
func TestKilledTransfersGoOn(t *testing.T) {
	content := make([]byte, movedSize)
	rand.Read(content)
	d := digest.FromBytes(content)
	desc := ocispec.Descriptor{Digest: d, Size: movedSize}
	for _, what := range []string{"down", "up"} {
		local, far := openStore(t), openStore(t)
		from := map[string]*layers.Store{"down": far, "up": local}[what]
		if err := from.PutBlob(context.Background(), desc, strings.NewReader(string(content)), false); err != nil {
			t.Fatal(err)
		}
		if what == "down" {
			if err := far.LinkBlob("app", d); err != nil {
				t.Fatal(err)
			}
		}
		line := &counter{inner: server.New(far, server.Options{})}
		srv := httptest.NewServer(line)
		name := slowly(t, strings.TrimPrefix(srv.URL, "http://")) + "/app@" + string(d)
		log := filepath.Join(t.TempDir(), "log")
		killed := moveOn(t, "HOD_MOVE="+what, "HOD_MOVE_STORE="+local.Root(), "HOD_MOVE_NAME="+name, "HOD_MOVE_LOG="+log)
		moved := line.bytes.Load()
		if what == "down" {
			moved = movedOf(t, log)
		}
		// A death costs what the journal did not know yet: at most a piece of it.
		if killed < 2 || moved > movedSize+int64(killed)*(2<<20) {
			t.Errorf("%s: %d bytes moved for a blob of %d, %d kills", what, moved, int64(movedSize), killed)
		}
		to := map[string]*layers.Store{"down": local, "up": far}[what]
		b, err := to.OpenBlob(d)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got, err := digest.FromReader(b); got != d || err != nil {
			t.Errorf("%s: the blob became %s: %v", what, got, err)
		}
		b.Close()
		srv.CloseClientConnections()
		srv.Close()
	}
}

// slowly is a relay to an address that takes its time, so that a process can be
// killed in the middle of what the kernel sends.
func slowly(t *testing.T, addr string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", addr)
			if err != nil {
				near.Close()
				continue
			}
			near.(*net.TCPConn).SetReadBuffer(64 << 10)
			far.(*net.TCPConn).SetWriteBuffer(64 << 10)
			go pour(far.(*net.TCPConn), near.(*net.TCPConn))
			go pour(near.(*net.TCPConn), far.(*net.TCPConn))
		}
	}()
	return l.Addr().String()
}

// pour copies one direction of a connection, at most 32 MB a second.
func pour(to, from *net.TCPConn) {
	defer to.CloseWrite()
	buf := make([]byte, 128<<10)
	for {
		n, err := from.Read(buf)
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
		time.Sleep(time.Duration(n) * time.Second / (32 << 20))
	}
}

// movedOf adds up what the processes received.
func movedOf(t *testing.T, log string) int64 {
	t.Helper()
	raw, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for line := range strings.Lines(string(raw)) {
		var from, to int64
		if _, err := fmt.Sscan(line, &from, &to); err != nil {
			t.Fatal(err)
		}
		total += to - from
	}
	return total
}

// randomBlob puts random bytes into a store.
func randomBlob(t *testing.T, store *layers.Store, size int64) digest.Digest {
	t.Helper()
	content := make([]byte, size)
	rand.Read(content)
	d := digest.FromBytes(content)
	if err := store.PutBlob(context.Background(), ocispec.Descriptor{Digest: d, Size: size}, bytes.NewReader(content), false); err != nil {
		t.Fatal(err)
	}
	return d
}
