package registry

import (
	"io"
	"net"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hodbuild/hod/registry/server"
)

// freezing is a relay to an address: its first connection is dead after so many bytes,
// without an end.
func freezing(t *testing.T, addr string, after int64) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for first := true; ; first = false {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", addr)
			if err != nil {
				near.Close()
				continue
			}
			t.Cleanup(func() { near.Close(); far.Close() })
			if first {
				go io.CopyN(near, far, after)
			} else {
				go func() { io.Copy(near, far); near.Close() }()
			}
			go func() { io.Copy(far, near); far.Close() }()
		}
	}()
	return l.Addr().String()
}

// TestFrozenHTTP2 pulls over a connection that dies without an end, as where a machine
// changes its network: another is made.
func TestFrozenHTTP2(t *testing.T) {
	inner := server.New(openStore(t), server.Options{})
	pushImage(t, inner, "app", 4<<20)
	srv := httptest.NewUnstartedServer(inner)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	host := freezing(t, srv.Listener.Addr().String(), 1<<20)
	dir := hostsFile(t, host, "server = \"https://"+host+"\"\nca = \"ca.pem\"\n", map[string][]byte{"ca.pem": certPEM(srv.Certificate().Raw)})
	c := New(Options{HostDirs: []string{dir}})
	c.patience = patient().patience
	c.base.HTTP2.SendPingTimeout, c.base.HTTP2.PingTimeout = 200*time.Millisecond, 200*time.Millisecond
	var most atomic.Int64
	c.o.Progress = func(e Event) { most.Store(max(most.Load(), e.Current)) }
	if err := pullBlobs(t, c, openStore(t), host+"/app"); err != nil {
		t.Errorf("%v, after %d bytes", err, most.Load())
	}
}
