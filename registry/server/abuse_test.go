package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/crypto/bcrypt"
)

// manifestOf is a manifest of the config and layer that fillRepo pushed, made
// another by its annotation.
func manifestOf(blob, subject digest.Digest, annotation string) []byte {
	refers := ""
	if subject != "" {
		refers = fmt.Sprintf(`"subject":{"mediaType":%q,"digest":%q,"size":3},`, manifestType, subject)
	}
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,%s"config":{"mediaType":"x/y","digest":%q,"size":2},"layers":[{"mediaType":"x/z","digest":%q,"size":1}],"annotations":{"a":%q}}`,
		manifestType, refers, digest.FromString("{}"), blob, annotation)
}

// TestOpenUploadsAreBounded opens more uploads than a server keeps: whoever rests
// longest has to go, and where nobody rests the next one is told to come back.
func TestOpenUploadsAreBounded(t *testing.T) {
	s := New(openStore(t), Options{MaxUploads: 5})
	begin := func() *httptest.ResponseRecorder { return ask(s, "", "POST", "/v2/app/blobs/uploads/", nil) }
	var first string
	for i := range 5 {
		w := begin()
		if w.Code != http.StatusAccepted {
			t.Fatalf("upload %d: %d", i, w.Code)
		}
		if first == "" {
			first = w.Header().Get("Location")
		}
	}
	if w := begin(); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("one too many: %d", w.Code)
	}
	if w := ask(s, "", "GET", first, nil); w.Code != http.StatusNoContent {
		t.Errorf("the first: %d", w.Code)
	}
	s.uploadRest = 0
	if w := begin(); w.Code != http.StatusAccepted {
		t.Errorf("when others rest: %d", w.Code)
	}
	if ids, err := s.store.Uploads(); err != nil || len(ids) != 5 {
		t.Errorf("%d uploads, %v", len(ids), err)
	}
}

// TestReferrersAreBounded hangs large annotations on an image: an answer stays
// small, and all of them come page by page.
func TestReferrersAreBounded(t *testing.T) {
	s := New(openStore(t), Options{})
	blob, subject := fillRepo(t, s, "", "app", "x")
	const count = 7
	for i := range count {
		raw := manifestOf(blob, subject, fmt.Sprint(i)+strings.Repeat("x", maxReferrers/2))
		if w := ask(s, "", "PUT", "/v2/app/manifests/"+string(digest.FromBytes(raw)), raw, "Content-Type", manifestType); w.Code != http.StatusCreated {
			t.Fatalf("push: %d %s", w.Code, w.Body)
		}
	}
	for filter, want := range map[string]int{"": count, "?artifactType=x%2Fy": count, "?artifactType=none": 0} {
		got, path := map[digest.Digest]bool{}, "/v2/app/referrers/"+string(subject)+filter
		for path != "" {
			w := ask(s, "", "GET", path, nil)
			var index ocispec.Index
			if err := json.Unmarshal(w.Body.Bytes(), &index); err != nil || w.Body.Len() > 2*maxReferrers {
				t.Fatalf("%s: %d bytes, %v", path, w.Body.Len(), err)
			}
			for _, m := range index.Manifests {
				got[m.Digest] = true
			}
			path, _, _ = strings.Cut(strings.TrimPrefix(w.Header().Get("Link"), "<"), ">")
		}
		if len(got) != want {
			t.Errorf("%q: %d referrers, not %d", filter, len(got), want)
		}
	}
}

// TestTagsAndDeletesAtOnce sets a tag while its manifest is deleted: in the end
// there are both or none.
func TestTagsAndDeletesAtOnce(t *testing.T) {
	s := New(openStore(t), Options{})
	blob, _ := fillRepo(t, s, "", "app", "x")
	raw := manifestOf(blob, "", "again")
	d := digest.FromBytes(raw)
	for range 40 {
		var both sync.WaitGroup
		for range 3 {
			both.Go(func() { ask(s, "", "PUT", "/v2/app/manifests/moving", raw, "Content-Type", manifestType) })
			both.Go(func() { ask(s, "", "DELETE", "/v2/app/manifests/"+string(d), nil) })
		}
		both.Wait()
		if _, err := s.store.RepositoryTag("app", "moving"); err == nil {
			if _, err := s.store.RepositoryManifest("app", d); err != nil {
				t.Fatalf("a tag names what was deleted: %v", err)
			}
		}
	}
}

// TestUnknownUsersTakeAsLong: how long a refusal takes tells nobody whether there
// is such a user, whatever the cost of the file's hashes.
func TestUnknownUsersTakeAsLong(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("x"), bcrypt.MinCost+1)
	if err != nil {
		t.Fatal(err)
	}
	a, err := ReadHtpasswd(strings.NewReader("user:" + string(hash)))
	if err != nil {
		t.Fatal(err)
	}
	if cost, err := bcrypt.Cost(a.dummy); err != nil || cost != bcrypt.MinCost+1 {
		t.Errorf("a user that there is not costs %d, %v", cost, err)
	}
	if err := bcrypt.CompareHashAndPassword(a.dummy, []byte("x")); err != bcrypt.ErrMismatchedHashAndPassword {
		t.Errorf("compare: %v", err)
	}
	if a.check(context.Background(), "nobody", "x") != errWrong {
		t.Error("nobody is let in")
	}
}

// TestPagesOfOthersWriteNothing sends what a browser lets any web page send to a
// registry on the reader's machine: it writes nothing.
func TestPagesOfOthersWriteNothing(t *testing.T) {
	s := New(openStore(t), Options{Hosts: []string{"localhost"}})
	body := []byte("spam")
	path := "/v2/app/blobs/uploads/?digest=" + string(digest.FromBytes(body))
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}} {
		r := httptest.NewRequest("POST", path, bytes.NewReader(body))
		r.Host = "localhost:5000"
		r.Header.Set(header[0], header[1])
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, r); w.Code != http.StatusForbidden {
			t.Errorf("%s: %d", header[0], w.Code)
		}
	}
	if ids, err := s.store.Links("app"); err != nil || len(ids) != 0 {
		t.Errorf("written: %v, %v", ids, err)
	}
}

// TestPanicsAreLogged: a mistake of ours ends one request, and is not silent.
func TestPanicsAreLogged(t *testing.T) {
	var out bytes.Buffer
	s := New(openStore(t), Options{Log: log.New(&out, "", 0)})
	s.store = nil
	srv := httptest.NewServer(s)
	defer srv.Close()
	if resp, err := http.Get(srv.URL + "/v2/app/tags/list"); err == nil {
		t.Errorf("answered: %d", resp.StatusCode)
	}
	if !strings.Contains(out.String(), `error: GET "/v2/app/tags/list": panic: `) {
		t.Errorf("log: %s", out.String())
	}
}

// TestLargeManifestsTakeTurns sends many large manifests that never end: memory
// stays small, and others are served.
func TestLargeManifestsTakeTurns(t *testing.T) {
	s := New(openStore(t), Options{})
	blob, _ := fillRepo(t, s, "", "app", "x")
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	spaces := bytes.Repeat([]byte(" "), 3<<20)
	for range 100 {
		all.Go(func() {
			body := io.MultiReader(bytes.NewReader(spaces), untilDone{ctx})
			r := httptest.NewRequest("PUT", "/v2/app/manifests/large", body).WithContext(ctx)
			r.ContentLength = 4 << 20
			s.ServeHTTP(httptest.NewRecorder(), r)
		})
	}
	for s.count.now() < 100 {
		time.Sleep(time.Millisecond)
	}
	for range 20 {
		var m runtime.MemStats
		if runtime.ReadMemStats(&m); m.HeapInuse > 200<<20 {
			t.Fatalf("%d MiB are in use", m.HeapInuse>>20)
		}
		raw := manifestOf(blob, "", "small")
		if w := ask(s, "", "PUT", "/v2/app/manifests/small", raw, "Content-Type", manifestType); w.Code != http.StatusCreated {
			t.Fatalf("a small one meanwhile: %d %s", w.Code, w.Body)
		}
		time.Sleep(5 * time.Millisecond)
	}
	stop()
	all.Wait()
}

// TestSlowPushersKeepNobodyWaiting has clients that dribble large manifests, and one that
// sends its own at once.
func TestSlowPushersKeepNobodyWaiting(t *testing.T) {
	s := New(openStore(t), Options{})
	srv := httptest.NewServer(s)
	defer srv.Close()
	blob, _ := fillRepo(t, s, "", "app", "x")
	for range 2 * maxHeavy / layers.MaxManifest {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "PUT /v2/app/manifests/slow HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%70000s", srv.Listener.Addr(), layers.MaxManifest, "")
	}
	for s.count.now() < 2*maxHeavy/layers.MaxManifest {
		time.Sleep(time.Millisecond)
	}
	raw := manifestOf(blob, "", strings.Repeat("x", 3<<20))
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, "PUT", srv.URL+"/v2/app/manifests/large", bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", manifestType)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := s.store.RepositoryTag("app", "large"); err != nil || got.Digest != digest.FromBytes(raw) {
		t.Errorf("%s: %v, %v", resp.Status, got, err)
	}
}

// TestLargeManifestIsSent: a manifest that is sent from its file is what was pushed.
func TestLargeManifestIsSent(t *testing.T) {
	s := New(openStore(t), Options{})
	blob, _ := fillRepo(t, s, "", "app", "x")
	raw := manifestOf(blob, "", strings.Repeat("x", 1<<20))
	for _, ref := range []string{"large", string(digest.FromBytes(raw))} {
		if w := ask(s, "", "PUT", "/v2/app/manifests/"+ref, raw, "Content-Type", manifestType); w.Code != http.StatusCreated {
			t.Fatalf("push: %d %s", w.Code, w.Body)
		}
		get, head := ask(s, "", "GET", "/v2/app/manifests/"+ref, nil), ask(s, "", "HEAD", "/v2/app/manifests/"+ref, nil)
		if get.Code != http.StatusOK || !bytes.Equal(get.Body.Bytes(), raw) || get.Header().Get("Content-Type") != manifestType {
			t.Errorf("%s: %d, %d bytes of %s", ref, get.Code, get.Body.Len(), get.Header().Get("Content-Type"))
		}
		if head.Code != http.StatusOK || head.Body.Len() > 0 || head.Header().Get("Content-Length") != fmt.Sprint(len(raw)) || head.Header().Get("Docker-Content-Digest") != string(digest.FromBytes(raw)) {
			t.Errorf("HEAD of %s: %d %v", ref, head.Code, head.Header())
		}
	}
}

// untilDone is a body that rests.
type untilDone struct{ ctx context.Context }

func (u untilDone) Read([]byte) (int, error) {
	<-u.ctx.Done()
	return 0, u.ctx.Err()
}
