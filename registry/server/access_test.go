package server

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/bcrypt"
)

func openStore(t *testing.T) *layers.Store {
	t.Helper()
	s, err := layers.Open(filepath.Join(t.TempDir(), "store"), layers.Options{HoldFor: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// users makes the passwords of some users, each their own name.
func users(t *testing.T, rules string, names ...string) *Auth {
	t.Helper()
	var file strings.Builder
	for _, n := range names {
		hash, err := bcrypt.GenerateFromPassword([]byte(n), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&file, "%s:%s\n", n, hash)
	}
	a, err := ReadHtpasswd(strings.NewReader(file.String()))
	if err == nil && rules != "" {
		a.Access, err = ReadAccess(strings.NewReader(rules))
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// ask sends a request as a user, whose password is the name; "" is somebody unknown.
func ask(h http.Handler, user, method, path string, body []byte, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	if user != "" {
		r.SetBasicAuth(user, user)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const manifestType = "application/vnd.oci.image.manifest.v1+json"

// fillRepo puts a blob, a config and a manifest under the tag v1 into a repository.
func fillRepo(t *testing.T, h http.Handler, user, repo, text string) (blob, manifest digest.Digest) {
	t.Helper()
	put := func(b []byte) digest.Digest {
		d := digest.FromBytes(b)
		if w := ask(h, user, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+string(d), b); w.Code != 201 {
			t.Fatalf("push of a blob to %s: %d %s", repo, w.Code, w.Body)
		}
		return d
	}
	blob = put([]byte(text))
	config := put([]byte("{}"))
	raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`, manifestType, config, blob, len(text))
	if w := ask(h, user, "PUT", "/v2/"+repo+"/manifests/v1", raw, "Content-Type", manifestType); w.Code != 201 {
		t.Fatalf("push of a manifest to %s: %d %s", repo, w.Code, w.Body)
	}
	return blob, digest.FromBytes(raw)
}

// TestEveryRequestNeedsItsRight goes through methods, paths and users (G11): who
// may only pull neither pushes nor deletes, who may push does not delete, and an
// endpoint that nobody thought of is closed.
func TestEveryRequestNeedsItsRight(t *testing.T) {
	rules := "team/*  root  pull,push,delete\nteam/* puller pull\nteam/* pusher pull,push # no deletes\npublic/** * pull\npublic/** root push\n"
	auth := users(t, rules, "root", "puller", "pusher", "stranger")
	s := New(openStore(t), Options{Auth: auth})
	blob, manifest := fillRepo(t, s, "root", "team/app", "secret")
	for _, row := range []struct {
		method, path string
		needs        right
	}{
		{"GET", "/v2/team/app/manifests/v1", pull}, {"HEAD", "/v2/team/app/manifests/v1", pull},
		{"GET", "/v2/team/app/manifests/" + string(manifest), pull}, {"GET", "/v2/team/app/blobs/" + string(blob), pull},
		{"HEAD", "/v2/team/app/blobs/" + string(blob), pull}, {"GET", "/v2/team/app/tags/list", pull},
		{"GET", "/v2/team/app/referrers/" + string(manifest), pull},
		{"PUT", "/v2/team/app/manifests/latest", push}, {"PUT", "/v2/team/app/manifests/" + string(manifest) + "?tag=latest", push},
		{"POST", "/v2/team/app/blobs/uploads/", push}, {"POST", "/v2/team/app/blobs/uploads/?mount=" + string(blob) + "&from=team/app", push},
		{"PATCH", "/v2/team/app/blobs/uploads/0123", push}, {"PUT", "/v2/team/app/blobs/uploads/0123?digest=" + string(blob), push},
		{"GET", "/v2/team/app/blobs/uploads/0123", push}, {"DELETE", "/v2/team/app/blobs/uploads/0123", push},
		{"DELETE", "/v2/team/app/manifests/none", deletes}, {"DELETE", "/v2/team/app/manifests/" + string(digest.FromString("none")), deletes},
		{"DELETE", "/v2/team/app/blobs/" + string(digest.FromString("none")), deletes},
	} {
		for user, has := range map[string][]right{"": nil, "stranger": nil, "puller": {pull}, "pusher": {pull, push}, "root": {pull, push, deletes}} {
			w := ask(s, user, row.method, row.path, nil)
			allowed := false
			for _, r := range has {
				allowed = allowed || r == row.needs
			}
			refused := w.Code == http.StatusForbidden || w.Code == http.StatusUnauthorized
			if refused == allowed {
				t.Errorf("%q %s %s: %d", user, row.method, row.path, w.Code)
			}
		}
	}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "TRACE", "FOO"} {
		if w := ask(s, "root", method, "/v2/team/app/tags/list", nil); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s of tags: %d", method, w.Code)
		}
	}
	if w := ask(s, "", "GET", "/v2/public/x/y/tags/list", nil); w.Code != http.StatusNotFound {
		t.Errorf("everybody reads public/**: %d", w.Code)
	}
	if w := ask(s, "", "GET", "/metrics", nil); w.Code != http.StatusUnauthorized {
		t.Errorf("metrics without a password: %d", w.Code)
	}
	if w := ask(s, "puller", "GET", "/metrics", nil); w.Code != 200 || !strings.Contains(w.Body.String(), `hod_registry_requests_total{method="GET",code="200"}`) {
		t.Errorf("metrics: %d %s", w.Code, w.Body)
	}
}

// TestBlobsAreShownByTheirRepositoryAlone asks for another repository's blob in
// each way there is (G10).
func TestBlobsAreShownByTheirRepositoryAlone(t *testing.T) {
	auth := users(t, "a root pull,push\nb root pull,push\na eve pull,push\n", "root", "eve")
	s := New(openStore(t), Options{Auth: auth})
	mine, _ := fillRepo(t, s, "root", "a", "mine")
	theirs, manifest := fillRepo(t, s, "root", "b", "theirs")
	for _, path := range []string{"/v2/a/blobs/" + string(theirs), "/v2/a/manifests/" + string(manifest)} {
		for _, method := range []string{"GET", "HEAD"} {
			if w := ask(s, "eve", method, path, nil); w.Code != 404 || strings.Contains(w.Body.String(), "theirs") {
				t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
			}
		}
	}
	for _, from := range []string{"&from=b", "", "&from=../b", "&from=b%2F..%2Fb"} {
		w := ask(s, "eve", "POST", "/v2/a/blobs/uploads/?mount="+string(theirs)+from, nil)
		if w.Code != http.StatusAccepted {
			t.Errorf("mount with %q: %d", from, w.Code)
		}
	}
	if w := ask(s, "eve", "GET", "/v2/a/blobs/"+string(mine), nil); w.Code != 200 || w.Body.String() != "mine" {
		t.Errorf("one's own blob: %d", w.Code)
	}
	if w := ask(s, "root", "POST", "/v2/a/blobs/uploads/?mount="+string(theirs)+"&from=b", nil); w.Code != http.StatusCreated {
		t.Errorf("mount by somebody who may: %d", w.Code)
	}
	if w := ask(s, "eve", "GET", "/v2/_catalog", nil); w.Code != 200 || strings.Contains(w.Body.String(), `"b"`) || !strings.Contains(w.Body.String(), `"a"`) {
		t.Errorf("catalog: %d %s", w.Code, w.Body)
	}
}

// TestForgedTokens shows tokens of which none is ours (G12), and one that is.
func TestForgedTokens(t *testing.T) {
	s := New(openStore(t), Options{Auth: users(t, "** * pull\n** root push\n", "root")})
	w := ask(s, "root", "GET", "/v2/_token?service=hod&scope=repository:x:push,pull", nil)
	if w.Code != 200 {
		t.Fatalf("token: %d %s", w.Code, w.Body)
	}
	_, rest, _ := strings.Cut(w.Body.String(), `"token":"`)
	good, _, _ := strings.Cut(rest, `"`)
	try := func(token string) int {
		return ask(s, "", "POST", "/v2/x/blobs/uploads/", nil, "Authorization", "Bearer "+token).Code
	}
	if got := try(good); got != http.StatusAccepted {
		t.Errorf("a good token: %d", got)
	}
	body, sum, _ := strings.Cut(good, ".")
	other := New(s.store, Options{})
	bad := []string{
		"", ".", "..", body, body + ".", "." + sum, good + "x", "x" + good, good[:len(good)-2], body + "." + sum[:4], sum + "." + body,
		"eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJyb290In0.AAAA", strings.Repeat(".", 1000),
		strings.Repeat("A", 1<<20), good + "." + sum, url.QueryEscape("\x00"), "root", other.seal("root", time.Now().Add(time.Hour)), s.seal("root", time.Now().Add(-time.Second)),
	}
	for _, token := range bad {
		if got := try(token); got != http.StatusUnauthorized {
			t.Errorf("token %.40q: %d", token, got)
		}
		if n := testing.AllocsPerRun(1, func() { s.unseal(token) }); n > 40 {
			t.Errorf("token %.40q: %v allocations", token, n)
		}
	}
	if got := try(s.seal("", time.Now().Add(time.Hour))); got != http.StatusUnauthorized {
		t.Errorf("a token of somebody unknown may push: %d", got)
	}
	if w := ask(s, "root", "GET", "/v2/_token", nil, "Authorization", "Basic cm9vdDp3cm9uZw=="); w.Code != http.StatusUnauthorized {
		t.Errorf("a token for a wrong password: %d", w.Code)
	}
}

func TestReadAccessRefuses(t *testing.T) {
	for _, bad := range []string{"a b", "a b pull extra", "a b read", "a[ b pull", "a//b c pull", "/ b pull"} {
		if _, err := ReadAccess(strings.NewReader("# fine\n" + bad)); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	a, err := ReadAccess(strings.NewReader("a/*/c + pull\n**/x * pull\n"))
	if err != nil {
		t.Fatal(err)
	}
	for repo, want := range map[string]bool{"a/b/c": true, "a/c": false, "a/b/b/c": false, "x": true, "p/q/x": true, "p/x/q": false} {
		if a.Allows("somebody", repo, pull) != want || a.Allows("somebody", repo, push) {
			t.Errorf("%s: %v", repo, !want)
		}
	}
}
