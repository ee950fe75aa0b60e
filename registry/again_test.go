package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hodbuild/hod/registry/auth"
	"github.com/hodbuild/hod/registry/server"
	"github.com/hodbuild/hod/registry/transfer"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// upward is a registry that counts the bytes of uploads, and may spoil requests for them.
type upward struct {
	inner http.Handler
	spoil func(w http.ResponseWriter, r *http.Request) bool // what it answered itself
	bytes atomic.Int64
}

func (u *upward) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Body != nil {
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(r.Body, (*counted)(&u.bytes)), r.Body}
	}
	if u.spoil == nil || !u.spoil(w, r) {
		u.inner.ServeHTTP(w, r)
	}
}

type counted atomic.Int64

func (c *counted) Write(p []byte) (int, error) {
	(*atomic.Int64)(c).Add(int64(len(p)))
	return len(p), nil
}

// hangUp ends a connection without an answer.
func hangUp(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

// sendBlob sends a blob to a registry's repository, with a journal that may begin in a
// session of an earlier run.
func sendBlob(t *testing.T, host string, blob []byte, session func(*transfer.Line) string) (*Client, error) {
	t.Helper()
	c, store := patient(), openStore(t)
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	ctx := context.Background()
	if err := store.PutBlob(ctx, d, bytes.NewReader(blob), false); err != nil {
		t.Fatal(err)
	}
	repo, err := c.Repository(ctx, store, host+"/app:1", true)
	if err != nil {
		t.Fatal(err)
	}
	l, err := repo.s.writer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if session != nil {
		j, err := store.Partial(journalKey(l, string(d.Digest)))
		if err == nil {
			err = errors.Join(j.SetState([]byte(session(l))), j.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return c, repo.Put(ctx, d, nil)
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// TestClosingAnswerIsLost loses each answer to the request that closes an upload: what
// arrived is not sent again.
func TestClosingAnswerIsLost(t *testing.T) {
	up := &upward{inner: server.New(openStore(t), server.Options{})}
	up.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return false
		}
		up.inner.ServeHTTP(httptest.NewRecorder(), r)
		hangUp(w)
		return true
	}
	srv := httptest.NewServer(up)
	defer srv.Close()
	const size = 3 << 20
	if _, err := sendBlob(t, strings.TrimPrefix(srv.URL, "http://"), noise(size), nil); err != nil {
		t.Error(err)
	}
	if up.bytes.Load() > size*105/100 {
		t.Errorf("%d bytes were sent of %d", up.bytes.Load(), size)
	}
}

// TestBusyUploadIsWaitedFor breaks an upload, in the middle or behind its first byte, and
// has the registry busy with it for a while: it goes on where it was.
func TestBusyUploadIsWaitedFor(t *testing.T) {
	const size = 3 << 20
	for _, came := range []int64{size / 2, 1} {
		up := &upward{inner: server.New(openStore(t), server.Options{})}
		var pieces, asked atomic.Int64
		up.spoil = func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case r.Method == http.MethodPatch && pieces.Add(1) == 1:
				part := r.Clone(r.Context())
				part.Body, part.ContentLength = io.NopCloser(io.LimitReader(r.Body, came)), came
				up.inner.ServeHTTP(httptest.NewRecorder(), part)
				hangUp(w)
				return true
			case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/uploads/") && asked.Add(1) < 10:
				w.WriteHeader(http.StatusConflict)
				return true
			}
			return false
		}
		srv := httptest.NewServer(up)
		if _, err := sendBlob(t, strings.TrimPrefix(srv.URL, "http://"), noise(size), nil); err != nil {
			t.Errorf("broken after %d bytes: %v", came, err)
		}
		if came > 1 && (pieces.Load() != 2 || up.bytes.Load() > size*105/100) { // of one byte the registry says what it says of none
			t.Errorf("%d bytes were sent of %d, with %d requests", up.bytes.Load(), size, pieces.Load())
		}
		srv.Close()
	}
}

// TestSessionsOfOtherBytes goes on with the session of an earlier run in which other
// bytes are, or one that the registry does not tell from none.
func TestSessionsOfOtherBytes(t *testing.T) {
	blob := noise(2 << 20)
	for name, there := range map[string][]byte{"others": noise(1 << 20), "more": noise(3 << 20), "one byte": blob[:1], "a part": blob[:1<<20]} {
		up := &upward{inner: server.New(openStore(t), server.Options{})}
		srv := httptest.NewServer(up)
		_, err := sendBlob(t, strings.TrimPrefix(srv.URL, "http://"), blob, func(l *transfer.Line) string {
			resp, err := l.Do(t.Context(), http.MethodPost, l.Path("blobs/uploads/"), nil, nil, http.StatusAccepted)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			location, _ := resp.Location()
			if resp, err = l.Do(t.Context(), http.MethodPatch, location.String(), nil, transfer.Bytes(there), http.StatusAccepted); err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			return location.String()
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if sent := up.bytes.Load(); name == "a part" && sent > int64(len(blob)) {
			t.Errorf("%s: %d bytes were sent", name, sent)
		}
		srv.Close()
	}
}

// TestBlobGoesOn writes a blob from registries whose connections break, one of which is a
// mirror that has the blob but sends another part of it than was asked for.
func TestBlobGoesOn(t *testing.T) {
	inner := server.New(openStore(t), server.Options{})
	blob := noise(1 << 20)
	d := digest.FromBytes(blob)
	send(t, inner, http.MethodPost, "/v2/app/blobs/uploads/?digest="+string(d), "application/octet-stream", blob)
	var sent atomic.Int64
	breaks := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		whole := httptest.NewRecorder()
		inner.ServeHTTP(whole, r)
		copyHeader(w, whole)
		w.WriteHeader(whole.Code)
		part := whole.Body.Bytes()[:min(300000, whole.Body.Len())]
		w.Write(part)
		sent.Add(int64(len(part)))
	}))
	defer breaks.Close()
	wrong := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-99999/%d", len(blob)))
			w.WriteHeader(http.StatusPartialContent)
		} else {
			w.Header().Set("Content-Length", fmt.Sprint(len(blob)))
		}
		w.Write(blob[:100000])
	}))
	defer wrong.Close()
	host := strings.TrimPrefix(breaks.URL, "http://")
	for name, hosts := range map[string]string{"alone": "", "behind a mirror": "[host.\"" + wrong.URL + "\"]\n"} {
		c := New(Options{HostDirs: []string{hostsFile(t, host, "server = \""+breaks.URL+"\"\n"+hosts, nil)}})
		c.patience = patient().patience
		sent.Store(0)
		var out bytes.Buffer
		if err := c.CopyBlob(context.Background(), &out, host+"/app@"+string(d)); err != nil || !bytes.Equal(out.Bytes(), blob) {
			t.Errorf("%s: %d bytes: %v", name, out.Len(), err)
		}
		if sent.Load() > int64(len(blob))*11/10 { // what was on its way when a connection broke comes again
			t.Errorf("%s: %d bytes came", name, sent.Load())
		}
	}
}

// TestMirrorThatLies pulls through a mirror whose blobs are others: the registry has the
// right ones.
func TestMirrorThatLies(t *testing.T) {
	inner := server.New(openStore(t), server.Options{})
	pushImage(t, inner, "app", 60000)
	home := httptest.NewServer(inner)
	defer home.Close()
	var lies atomic.Int64
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		whole := httptest.NewRecorder()
		inner.ServeHTTP(whole, r)
		copyHeader(w, whole)
		w.WriteHeader(whole.Code)
		body := whole.Body.Bytes()
		if kindOf(r) == "GET blob" && len(body) > 1000 {
			lies.Add(1)
			body[len(body)/2] ^= 1
		}
		w.Write(body)
	}))
	defer mirror.Close()
	host := strings.TrimPrefix(home.URL, "http://")
	c := New(Options{HostDirs: []string{hostsFile(t, host, "server = \""+home.URL+"\"\n[host.\""+mirror.URL+"\"]\n", nil)}})
	if err := pullBlobs(t, c, openStore(t), host+"/app"); err != nil || lies.Load() == 0 {
		t.Errorf("after %d lies: %v", lies.Load(), err)
	}
}

// TestManifestOfAnUnknownKind reads a manifest that is sent as something else.
func TestManifestOfAnUnknownKind(t *testing.T) {
	raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x/y","digest":%q,"size":2},"layers":[]}`, ocispec.MediaTypeImageManifest, digest.FromString("{}"))
	for _, kind := range []string{"", "application/json", "application", "application/vnd.oci.image", ocispec.MediaTypeImageManifest + " ; charset=utf-8"} {
		if desc, _, err := describe("1", http.Header{"Content-Type": {kind}}, raw); err != nil || desc.MediaType != ocispec.MediaTypeImageManifest {
			t.Errorf("%q: %s, %v", kind, desc.MediaType, err)
		}
	}
}

// TestLoginWithAnOldPassword keeps a password that a server of tokens does not take any more.
func TestLoginWithAnOldPassword(t *testing.T) {
	srv := httptest.NewServer(server.New(openStore(t), server.Options{Auth: users(t)}))
	defer srv.Close()
	c, host, ctx := patient(), strings.TrimPrefix(srv.URL, "http://"), context.Background()
	knows(t, c, host)
	if user, err := c.LoggedIn(ctx, host); err != nil || user != "u" {
		t.Errorf("with the right one: %q, %v", user, err)
	}
	if _, err := c.auth.Save(ctx, host, auth.Credential{User: "u", Password: "old"}); err != nil {
		t.Fatal(err)
	}
	if user, err := c.LoggedIn(ctx, host); err != nil || user != "" {
		t.Errorf("with the old one: %q, %v", user, err)
	}
	if _, err := c.Login(ctx, host, "u", "wrong"); !errors.Is(err, errWrongLogin) {
		t.Errorf("with a wrong one: %v", err)
	}
}

// TestDeleteAsksTheRegistry deletes what a tag means where a mirror still has the old.
func TestDeleteAsksTheRegistry(t *testing.T) {
	inner, behind := server.New(openStore(t), server.Options{}), server.New(openStore(t), server.Options{})
	pushImage(t, inner, "app", 100)
	pushImage(t, behind, "app", 100)
	home, mirror := httptest.NewServer(inner), httptest.NewServer(behind)
	defer home.Close()
	defer mirror.Close()
	host, ctx := strings.TrimPrefix(home.URL, "http://"), context.Background()
	before, err := patient().Digest(ctx, host+"/app")
	if err != nil {
		t.Fatal(err)
	}
	pushImage(t, inner, "app", 100, 200) // the mirror does not know
	c := New(Options{HostDirs: []string{hostsFile(t, host, "server = \""+home.URL+"\"\n[host.\""+mirror.URL+"\"]\n", nil)}})
	if d, err := c.Digest(ctx, host+"/app"); err != nil || d != before {
		t.Errorf("the mirror means %s: %v", d, err)
	}
	if err := c.DeleteManifest(ctx, host+"/app"); err != nil {
		t.Error(err)
	}
	if _, err := patient().Digest(ctx, host+"/app"); transfer.Status(err) != http.StatusNotFound {
		t.Errorf("the tag is there: %v", err)
	}
	if _, err := patient().Digest(ctx, host+"/app@"+string(before)); err != nil {
		t.Errorf("the old one is gone: %v", err)
	}
}

// TestHelpersAreAskedOnce pushes with a credential of a helper program, to a repository
// beside one that has the blobs.
func TestHelpersAreAskedOnce(t *testing.T) {
	inner := server.New(openStore(t), server.Options{Auth: users(t)})
	srv := httptest.NewServer(inner)
	defer srv.Close()
	dir, host, ctx, store := t.TempDir(), strings.TrimPrefix(srv.URL, "http://"), context.Background(), openStore(t)
	script := "#!/bin/sh\necho >>" + dir + "/calls\necho '{\"Username\":\"u\",\"Secret\":\"u\"}'\n"
	config := filepath.Join(dir, "config.json")
	for path, text := range map[string]string{filepath.Join(dir, "docker-credential-counts"): script, config: `{"credsStore":"counts"}`} {
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	plain := server.New(openStore(t), server.Options{})
	pushImage(t, plain, "app", 3000)
	other := httptest.NewServer(plain)
	defer other.Close()
	desc, err := patient().PullPlatforms(ctx, store, strings.TrimPrefix(other.URL, "http://")+"/app:latest", nil)
	if err != nil {
		t.Fatal(err)
	}
	calls := int64(0)
	for _, name := range []string{host + "/app:1", host + "/new:1"} { // the second may link from the first
		if err := store.Tag(ctx, name, desc); err != nil {
			t.Fatal(err)
		}
		c := patient()
		c.auth = auth.Files{Paths: []string{config}, Login: config}
		if _, err := c.Push(ctx, store, name, PushOptions{}); err != nil {
			t.Fatal(err)
		}
		calls++
		if raw, err := os.ReadFile(filepath.Join(dir, "calls")); err != nil || int64(len(raw)) != calls {
			t.Errorf("after %d pushes the helper was asked %d times: %v", calls, len(raw), err)
		}
	}
}
