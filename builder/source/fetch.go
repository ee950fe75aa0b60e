package source

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
)

// Fetch asks for one file over HTTP.
type Fetch struct {
	URL string
	// Name is the file's name in the tree; empty is [URLName].
	Name string
	// Checksum, where it is not empty, is what the content must have.
	Checksum digest.Digest
	// Authorization is the header's value for URL's own host; it never goes to another one.
	Authorization string
	// Limit bounds the size; zero is 64 GiB.
	Limit int64
	// Tmp is the folder for the downloaded file.
	Tmp string
	// ModTime is given to a file whose server does not say one.
	ModTime time.Time
}

// Download is a file that was fetched: a tree with that one file, of mode 0600 and root's.
type Download struct {
	*Tree
	Name   string
	Digest digest.Digest
	file   *os.File
}

// Close releases the temporary file.
func (d *Download) Close() error { return d.file.Close() }

// Reader reads the file from its beginning.
func (d *Download) Reader() io.Reader { return io.NewSectionReader(d.file, 0, 1<<62) }

const fetchLimit = 64 << 30

// Do downloads the file. Redirects lead to http and https only, from https never back to http, and never to link-local
// addresses, where clouds keep their secrets.
func (f Fetch) Do(ctx context.Context) (*Download, error) {
	u, err := url.Parse(f.URL)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", redact(err))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", u.Redacted(), redact(err))
	}
	req.Header.Set("User-Agent", "hod")
	req.Header.Set("Accept-Encoding", "identity")
	if f.Authorization != "" {
		req.Header.Set("Authorization", f.Authorization)
	}
	resp, err := client().Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", u.Redacted(), redact(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch %s: server says %s", u.Redacted(), resp.Status)
	}
	d, err := f.store(resp)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", u.Redacted(), err)
	}
	return d, nil
}

func (f Fetch) store(resp *http.Response) (_ *Download, err error) {
	limit := f.Limit
	if limit == 0 {
		limit = fetchLimit
	}
	if resp.ContentLength > limit {
		return nil, fmt.Errorf("larger than %d bytes", limit)
	}
	file, err := os.CreateTemp(f.Tmp, "fetch-")
	if err != nil {
		return nil, fmt.Errorf("make temporary file: %w", err)
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	if err := os.Remove(file.Name()); err != nil {
		return nil, err
	}
	algorithm := digest.Canonical
	if f.Checksum != "" {
		if err := f.Checksum.Validate(); err != nil {
			return nil, fmt.Errorf("checksum %q: %w", f.Checksum, err)
		}
		algorithm = f.Checksum.Algorithm()
	}
	sum := algorithm.Digester()
	n, err := io.Copy(io.MultiWriter(file, sum.Hash()), io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("larger than %d bytes", limit)
	}
	if f.Checksum != "" && sum.Digest() != f.Checksum {
		return nil, fmt.Errorf("digest mismatch %s: want %s", sum.Digest(), f.Checksum)
	}
	return newDownload(f, file, n, sum.Digest(), resp.Header.Get("Last-Modified")), nil
}

func newDownload(f Fetch, file *os.File, size int64, d digest.Digest, modified string) *Download {
	modTime := f.ModTime
	if t, err := http.ParseTime(modified); err == nil {
		modTime = t
	}
	name := f.Name
	if name == "" {
		name = URLName(f.URL)
	}
	t := NewTree()
	t.Add(Entry{Path: name, Type: tar.TypeReg, Mode: 0o600, Size: size, ModTime: modTime}, func() (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(file, 0, size)), nil
	})
	return &Download{Tree: t, Name: name, Digest: d, file: file}
}

// URLName is the file name that a URL ends in. What a server says in its headers has no say in it.
func URLName(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "__unnamed__"
	}
	name := path.Base(u.Path)
	if name == "." || name == "/" {
		return "__unnamed__"
	}
	if name == ".." || len(name) > 255 || strings.ContainsAny(name, "\x00\\") {
		return "download"
	}
	return name
}

func client() *http.Client {
	dialer := &net.Dialer{Timeout: 30 * time.Second, Control: refuseLinkLocal}
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: 30 * time.Second, ResponseHeaderTimeout: 2 * time.Minute, DisableCompression: true,
			DisableKeepAlives: true,
		},
		CheckRedirect: checkRedirect,
	}
}

// checkRedirect follows few redirects, and tells nobody the address that they came
// from: it may hold a token.
func checkRedirect(req *http.Request, via []*http.Request) error {
	req.Header.Del("Referer")
	first, last := via[0], via[len(via)-1]
	switch {
	case len(via) >= 10:
		return errors.New("more than 10 redirects")
	case req.URL.Scheme != "http" && req.URL.Scheme != "https":
		return fmt.Errorf("redirect to %s is refused", req.URL.Scheme)
	case last.URL.Scheme == "https" && req.URL.Scheme == "http":
		return errors.New("redirect from https to http is refused")
	case req.URL.Host != first.URL.Host || req.URL.Scheme != first.URL.Scheme:
		req.Header.Del("Authorization")
	}
	return nil
}

func refuseLinkLocal(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if a.Addr().Unmap().IsLinkLocalUnicast() {
		return fmt.Errorf("link-local address %s is refused", a.Addr())
	}
	return nil
}

// redact takes the URL, which may hold a password, out of an error of net/url and net/http.
func redact(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
