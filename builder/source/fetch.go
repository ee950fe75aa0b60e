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
	// Seen is the folder that remembers what servers said of their files, "" for none.
	Seen string
}

// Download is a file that was fetched: a tree with that one file, of mode 0600 and root's.
type Download struct {
	*Tree
	Name   string
	Digest digest.Digest
	// Modified is what the server says, zero where it says nothing.
	Modified time.Time
	fetch    Fetch
	file     *os.File // nil while it is known without its content
}

// Close releases the temporary file.
func (d *Download) Close() error {
	if d.file == nil {
		return nil
	}
	return d.file.Close()
}

// Reader reads the file from its beginning.
func (d *Download) Reader() io.Reader { return io.NewSectionReader(d.file, 0, 1<<62) }

// Time is when the file was made: what the server says, or else the time of the newest file in an archive; zero where
// neither says.
func (d *Download) Time(ctx context.Context, tmp string) (time.Time, error) {
	if !d.Modified.IsZero() {
		return d.Modified, nil
	}
	if err := d.Complete(ctx); err != nil {
		return time.Time{}, err
	}
	plain, err := Decompress(d.Reader())
	if err != nil {
		return time.Time{}, nil // as one that is no archive
	}
	defer plain.Close()
	a, err := ReadArchive(plain, tmp, Limits{})
	if err != nil {
		return time.Time{}, nil
	}
	defer a.Close()
	return a.newest(), nil
}

const fetchLimit = 64 << 30

// Do downloads the file. Redirects lead to http and https only, from https never back to http, and never to link-local
// addresses, where clouds keep their secrets. Where it was downloaded before and the server says that it is what it was,
// only its digest is known until [Download.Complete].
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
	last := f.last()
	if last != nil {
		req.Header.Set("If-None-Match", last.ETag)
	}
	resp, err := client().Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", u.Redacted(), redact(err))
	}
	defer resp.Body.Close()
	if last != nil && resp.StatusCode == http.StatusNotModified {
		return f.download(nil, *last), nil
	}
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
	now := seen{ETag: resp.Header.Get("ETag"), Digest: sum.Digest(), Size: n}
	if t, err := http.ParseTime(resp.Header.Get("Last-Modified")); err == nil {
		now.Modified = t
	}
	f.remember(now)
	return f.download(file, now), nil
}

// download makes the tree of a file that is here, or known only.
func (f Fetch) download(file *os.File, s seen) *Download {
	d := &Download{Tree: NewTree(), Name: f.Name, Digest: s.Digest, Modified: s.Modified, fetch: f, file: file}
	if d.Name == "" {
		d.Name = URLName(f.URL)
	}
	e := Entry{Path: d.Name, Type: tar.TypeReg, Mode: 0o600, Size: s.Size, ModTime: s.Modified}
	_ = e.Digest.UnmarshalText([]byte(s.Digest)) // a checksum of another kind than SHA-256 says nothing to keys
	if s.Modified.IsZero() {
		e.ModTime = f.ModTime
	}
	d.Add(e, func() (io.ReadCloser, error) {
		if d.file == nil {
			return nil, fmt.Errorf("read %q: it was not downloaded", d.Name)
		}
		return io.NopCloser(io.NewSectionReader(d.file, 0, s.Size)), nil
	})
	return d
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
