package registry

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hodbuild/hod/registry/server"
)

// Answers of a name server.
const (
	isFirst   = "127.0.0.1"
	isSecond  = "127.0.0.2"
	isNowhere = "NXDOMAIN"
	isBroken  = "SERVFAIL"
)

// nameServer answers the lookups of one name in turn.
type nameServer struct {
	net.PacketConn
	name string

	mu      sync.Mutex // guards what follows
	answers []string   // the last one again and again
	asked   int
}

// newNameServer makes every lookup of this process ask it, until the test ends.
func newNameServer(t *testing.T, name string, answers ...string) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nameServer{PacketConn: conn, name: name, answers: answers}
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("udp", conn.LocalAddr().String())
	}}
	go n.serve()
	t.Cleanup(func() {
		conn.Close()
		net.DefaultResolver = before
	})
	return n
}

func (n *nameServer) serve() {
	buf := make([]byte, 512)
	for {
		size, from, err := n.ReadFrom(buf)
		if err != nil {
			return
		}
		n.WriteTo(n.answer(buf[:size]), from)
	}
}

// answer makes the packet of an answer out of that of a question.
func (n *nameServer) answer(q []byte) []byte {
	var labels []string
	at := 12
	for q[at] != 0 {
		labels = append(labels, string(q[at+1:at+1+int(q[at])]))
		at += 1 + int(q[at])
	}
	at++
	isA := binary.BigEndian.Uint16(q[at:]) == 1
	resp := append([]byte{}, q[:at+4]...)
	copy(resp[2:], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
	said := isNowhere
	if strings.Join(labels, ".") == n.name {
		said = n.turn(isA)
	}
	switch ip := net.ParseIP(said).To4(); {
	case said == isNowhere:
		resp[3] |= 3
	case said == isBroken:
		resp[3] |= 2
	case isA:
		resp[7] = 1
		resp = append(append(resp, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4), ip...)
	}
	return resp
}

// turn is the answer now; the next one comes with the next question for IPv4.
func (n *nameServer) turn(next bool) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	said := n.answers[0]
	if n.asked++; next && len(n.answers) > 1 {
		n.answers = n.answers[1:]
	}
	return said
}

// twoPlaces serves on one port of two addresses, and ends each connection after
// some bytes. It counts the requests of each.
func twoPlaces(t *testing.T, h http.Handler) (port string, counts map[string]*atomic.Int64) {
	t.Helper()
	counts = map[string]*atomic.Int64{isFirst: {}, isSecond: {}}
	for _, ip := range []string{isFirst, isSecond} {
		ln, err := net.Listen("tcp", net.JoinHostPort(ip, strings.TrimPrefix(port, ":")))
		if port == "" {
			ln, err = net.Listen("tcp", ip+":0")
		}
		if err != nil {
			t.Fatal(err)
		}
		_, p, _ := net.SplitHostPort(ln.Addr().String())
		port = p
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			counts[ip].Add(1)
			w.Header().Set("Connection", "close")
			h.ServeHTTP(&breaking{ResponseWriter: w, left: 300 << 10}, r)
		})}
		go srv.Serve(ln)
		t.Cleanup(func() { srv.Close() })
	}
	return port, counts
}

// breaking ends its connection after some bytes.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		http.NewResponseController(b.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return b.ResponseWriter.Write(p)
}

// TestNamesThatFlap pulls from a name that means another place, or none, from
// connection to connection (B5). One that means none at first is said at once.
func TestNamesThatFlap(t *testing.T) {
	inner := server.New(openStore(t), server.Options{})
	pushImage(t, inner, "app", 1<<20, 3000)
	port, counts := twoPlaces(t, inner)
	host := "registry.test:" + port
	dial := func() *Client {
		c := New(Options{PlainHTTP: []string{host}, HostDirs: []string{t.TempDir()}})
		c.patience.Pause = time.Millisecond
		return c
	}
	newNameServer(t, "registry.test", isBroken, isBroken, isBroken, isFirst, isNowhere, isSecond, isBroken, isBroken, isNowhere, isFirst,
		isSecond, isNowhere, isFirst, isBroken, isBroken, isSecond, isNowhere, isNowhere, isFirst, isSecond, isFirst)
	if _, _, err := dial().Pull(context.Background(), openStore(t), host+"/app", PullOptions{}); err != nil {
		t.Error(err)
	}
	if counts[isFirst].Load() == 0 || counts[isSecond].Load() == 0 {
		t.Errorf("%d requests to one place, %d to the other", counts[isFirst].Load(), counts[isSecond].Load())
	}
	n := newNameServer(t, "registry.test", isNowhere)
	if _, err := dial().Resolve(context.Background(), host+"/app", nil); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("a name that means nothing: %v", err)
	}
	if n.asked > 4 { // once, for two kinds of address, perhaps at two servers
		t.Errorf("a name that means nothing was looked up by %d questions", n.asked)
	}
}

// authority signs certificates for this machine.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	text := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.key, a.cert = a.signed(t, text, nil)
	return a
}

func (a *authority) signed(t *testing.T, text *x509.Certificate, by *authority) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		by = &authority{cert: text, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, text, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

func (a *authority) server(t *testing.T, serial int64) *tls.Certificate {
	t.Helper()
	key, cert := a.signed(t, &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, a)
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// TestCertificatesAreSwapped renews the server's certificate while a transfer goes
// on: it goes on. A certificate that nobody trusts ends it at once, with one clear
// error and nothing in the store (B5).
func TestCertificatesAreSwapped(t *testing.T) {
	inner := server.New(openStore(t), server.Options{})
	pushImage(t, inner, "app", 3<<20)
	trusted := newAuthority(t)
	for _, tc := range []struct {
		name string
		next *tls.Certificate
		ok   bool
	}{{"renewed", trusted.server(t, 3), true}, {"a stranger's", newAuthority(t).server(t, 4), false}} {
		t.Run(tc.name, func(t *testing.T) {
			var now atomic.Pointer[tls.Certificate]
			now.Store(trusted.server(t, 2))
			var shown, requests atomic.Int64
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				if strings.Contains(r.URL.Path, "/blobs/") && r.Method == http.MethodGet {
					now.Store(tc.next) // from the next connection on
				}
				w.Header().Set("Connection", "close")
				inner.ServeHTTP(&breaking{ResponseWriter: w, left: 300 << 10}, r)
			}))
			srv.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
				c := now.Load()
				if c == tc.next {
					shown.Add(1)
				}
				return &tls.Config{Certificates: []tls.Certificate{*c}}, nil
			}}
			srv.StartTLS()
			defer srv.Close()
			host := strings.TrimPrefix(srv.URL, "https://")
			dir := hostsFile(t, host, "server = \""+srv.URL+"\"\nca = \"ca.pem\"\n", map[string][]byte{"ca.pem": certPEM(trusted.cert.Raw)})
			c, store := New(Options{HostDirs: []string{dir}, Ranges: 1, Jobs: 1}), openStore(t)
			c.patience.Pause = time.Millisecond
			_, _, err := c.Pull(context.Background(), store, host+"/app", PullOptions{})
			var certificate *tls.CertificateVerificationError
			switch {
			case tc.ok && (err != nil || shown.Load() < 5):
				t.Errorf("%v, and the new certificate was seen %d times", err, shown.Load())
			case !tc.ok && (!errors.Is(err, ErrUnreachable) || !errors.As(err, &certificate) || strings.Count(err.Error(), "certificate signed by unknown authority") != 1):
				t.Errorf("not said: %v", err)
			case !tc.ok && shown.Load() > 2:
				t.Errorf("a certificate that nobody trusts was looked at %d times", shown.Load())
			}
			if images, err := store.Images(context.Background()); err != nil || !tc.ok && len(images) > 0 {
				t.Errorf("%d images: %v", len(images), err)
			}
		})
	}
}
