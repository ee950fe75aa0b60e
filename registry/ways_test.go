package registry

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hodbuild/hod/registry/server"
)

// hostsFile writes hosts.toml of a host and what lies beside, and gives the folder
// of all hosts.
func hostsFile(t *testing.T, host, text string, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, host), 0o755); err != nil {
		t.Fatal(err)
	}
	if files == nil {
		files = map[string][]byte{}
	}
	files["hosts.toml"] = []byte(text)
	for name, raw := range files {
		if err := os.WriteFile(filepath.Join(dir, host, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestHTTP2 pulls and pushes over HTTP/2, whose connection the server ends from time
// to time (GOAWAY).
func TestHTTP2(t *testing.T) {
	inner := server.New(openStore(t), server.Options{})
	pushImage(t, inner, "app", 2<<20, 3000, 500)
	var second, first, n atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			second.Add(1)
		} else {
			first.Add(1)
		}
		if n.Add(1)%4 == 0 {
			w.Header().Set("Connection", "close") // over HTTP/2 this is GOAWAY
		}
		inner.ServeHTTP(w, r)
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "https://")
	dir := hostsFile(t, host, "server = \""+srv.URL+"\"\nca = \"ca.pem\"\n", map[string][]byte{"ca.pem": certPEM(srv.Certificate().Raw)})
	c, store, ctx := New(Options{HostDirs: []string{dir}}), openStore(t), context.Background()
	c.patience.Pause = time.Millisecond
	want, err := c.PullPlatforms(ctx, store, host+"/app", nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.PushAs(ctx, store, host+"/app", host+"/new/app:1", PushOptions{})
	if err != nil || got.Digest != want.Digest {
		t.Errorf("pushed %s, want %s: %v", got.Digest, want.Digest, err)
	}
	if second.Load() < 10 || first.Load() != 0 {
		t.Errorf("%d requests over HTTP/2, %d over HTTP/1", second.Load(), first.Load())
	}
}

// identity makes a certificate of a client, or a server on this machine, that vouches
// for itself.
func identity(t *testing.T) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "somebody"}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, text, text, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return certPEM(der), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// TestClientCertificates has a registry that lets in who shows a certificate.
func TestClientCertificates(t *testing.T) {
	inner := server.New(openStore(t), server.Options{})
	pushImage(t, inner, "app", 100)
	cert, key := identity(t)
	known := x509.NewCertPool()
	known.AppendCertsFromPEM(cert)
	srv := httptest.NewUnstartedServer(inner)
	srv.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: known}
	srv.StartTLS()
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "https://")
	files := map[string][]byte{"ca.pem": certPEM(srv.Certificate().Raw), "me.pem": cert, "me.key": key}
	text := "server = \"" + srv.URL + "\"\nca = \"ca.pem\"\n"
	ask := func(text string) error {
		_, err := New(Options{HostDirs: []string{hostsFile(t, host, text, files)}}).Digest(context.Background(), host+"/app")
		return err
	}
	if err := ask(text + "client = [[\"me.pem\", \"me.key\"]]\n"); err != nil {
		t.Errorf("with a certificate: %v", err)
	}
	if err := ask(text); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("without a certificate: %v", err)
	}
	if err := ask("server = \"" + srv.URL + "\"\n"); !errors.Is(err, ErrUnreachable) || strings.Count(err.Error(), "x509") == 0 {
		t.Errorf("an authority that nobody knows: %v", err)
	}
}

// TestServerWithoutTLS is asked with TLS: that is said as what it is, at once.
func TestServerWithoutTLS(t *testing.T) {
	srv := httptest.NewServer(server.New(openStore(t), server.Options{}))
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	_, err := New(Options{HostDirs: []string{hostsFile(t, host, "server = \"https://"+host+"\"\n", nil)}}).Digest(context.Background(), host+"/app")
	if !errors.Is(err, ErrUnreachable) || !errors.Is(err, http.ErrSchemeMismatch) {
		t.Errorf("%v", err)
	}
}

// askOne prints a digest, in a process of its own: the environment's proxies are
// read once.
func askOne(name string) int {
	var plain []string
	if host, _, ok := strings.Cut(name, "/"); ok && os.Getenv("HOD_ASK_PLAIN") != "" {
		plain = []string{host}
	}
	c := New(Options{PlainHTTP: plain, HostDirs: []string{os.Getenv("HOD_ASK_HOSTS")}})
	c.patience.Pause = time.Millisecond
	d, err := c.Digest(context.Background(), name)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(d)
	return 0
}

// relayProxy is an HTTP proxy for whom every name is one of two addresses; it
// writes down what it was asked for.
type relayProxy struct {
	plain, secret string // addresses
	mu            sync.Mutex
	asked         []string
}

func (p *relayProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.Host)
	p.mu.Unlock()
	if r.Method != http.MethodConnect {
		out := r.Clone(r.Context())
		out.RequestURI, out.URL.Host = "", p.plain
		resp, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		for k, v := range resp.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(resp.StatusCode)
		io.Copy(w, resp.Body)
		return
	}
	far, err := net.Dial("tcp", p.secret)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	near, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		far.Close()
		return
	}
	fmt.Fprint(near, "HTTP/1.1 200 OK\r\n\r\n")
	go func(r *bufio.Reader) { io.Copy(far, r); far.Close() }(rw.Reader)
	io.Copy(near, far)
	near.Close()
}

// TestProxies goes through the proxies that the environment names, and past them
// where it says so.
func TestProxies(t *testing.T) {
	inner := server.New(openStore(t), server.Options{})
	pushImage(t, inner, "app", 100)
	plain, secret := httptest.NewServer(inner), httptest.NewTLSServer(inner)
	defer plain.Close()
	defer secret.Close()
	relay := &relayProxy{plain: plain.Listener.Addr().String(), secret: secret.Listener.Addr().String()}
	proxy := httptest.NewServer(relay)
	defer proxy.Close()
	// The certificate of httptest is example.com's.
	hosts := hostsFile(t, "example.com", "server = \"https://example.com\"\nca = \"ca.pem\"\n", map[string][]byte{"ca.pem": certPEM(secret.Certificate().Raw)})
	for _, row := range []struct {
		name, asked string
		env         []string
		ok          bool
	}{
		{"nowhere.invalid/app", "HEAD nowhere.invalid", []string{"HTTP_PROXY=" + proxy.URL, "HOD_ASK_PLAIN=yes"}, true},
		{"nowhere.invalid/app", "HEAD nowhere.invalid", []string{"http_proxy=" + proxy.URL, "HOD_ASK_PLAIN=yes"}, true},
		{"example.com/app", "CONNECT example.com:443", []string{"HTTPS_PROXY=" + proxy.URL, "HTTP_PROXY=http://127.0.0.1:1"}, true},
		{"nowhere.invalid/app", "", []string{"HTTP_PROXY=" + proxy.URL, "NO_PROXY=nowhere.invalid", "HOD_ASK_PLAIN=yes"}, false},
		{"nowhere.invalid/app", "", []string{"HTTP_PROXY=http://127.0.0.1:1", "HOD_ASK_PLAIN=yes"}, false},
		{relay.plain + "/app", "", []string{"HTTP_PROXY=http://127.0.0.1:1", "HTTPS_PROXY=http://127.0.0.1:1"}, true}, // loopback has no proxy
	} {
		relay.asked = nil
		cmd := exec.Command(os.Args[0])
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOD_ASK=" + row.name, "HOD_ASK_HOSTS=" + hosts}, row.env...)
		out, err := cmd.CombinedOutput()
		if (err == nil) != row.ok {
			t.Errorf("%s with %q: %v: %s", row.name, row.env, err, out)
		}
		if row.ok != strings.HasPrefix(string(out), "sha256:") || !row.ok && !strings.Contains(string(out), "registry cannot be reached") {
			t.Errorf("%s with %q: %s", row.name, row.env, out)
		}
		if through := len(relay.asked) > 0; through != (row.asked != "") || through && relay.asked[0] != row.asked {
			t.Errorf("%s with %q: the proxy was asked for %q", row.name, row.env, relay.asked)
		}
	}
}
