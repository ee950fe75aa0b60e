package server

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Where somebody unknown may read, clients must be able to ask whether they are
// known without being sent away, and Docker's does that only by tokens. So the
// server gives tokens, too: a token says who asked and until when, sealed with a
// key that lives as long as the server. What its bearer may do is decided at
// each request, by the rules.

// tokenTime is how long a token is good.
const tokenTime = 5 * time.Minute

// maxToken bounds what is looked at.
const maxToken = 1 << 10

func newKey() []byte {
	key := make([]byte, 32)
	rand.Read(key) // never fails
	return key
}

// seal makes the token of a user.
func (s *Server) seal(user string, until time.Time) string {
	text := strconv.FormatInt(until.Unix(), 10) + " " + user
	return base64.RawURLEncoding.EncodeToString([]byte(text)) + "." + base64.RawURLEncoding.EncodeToString(s.mac(text))
}

func (s *Server) mac(text string) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// unseal reads a token; the user is empty for somebody unknown.
func (s *Server) unseal(token string) (user string, ok bool) {
	if len(token) > maxToken {
		return "", false
	}
	body, sum, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(body)
	got, err2 := base64.RawURLEncoding.DecodeString(sum)
	if err != nil || err2 != nil || subtle.ConstantTimeCompare(got, s.mac(string(text))) != 1 {
		return "", false
	}
	at, user, _ := strings.Cut(string(text), " ")
	until, err := strconv.ParseInt(at, 10, 64)
	return user, err == nil && s.now().Unix() < until
}

// who tells the user of a request, and whether it shows anything to be known by. It
// is an error where that is not right, or cannot be looked at now.
func (s *Server) who(r *http.Request) (user string, shown bool, err error) {
	head := r.Header.Get("Authorization")
	if head == "" {
		return "", false, nil
	}
	if scheme, token, _ := strings.Cut(head, " "); strings.EqualFold(scheme, "Bearer") {
		user, ok := s.unseal(token)
		if !ok || user != "" && !s.auth().knows(user) { // who was taken off the list meanwhile
			return "", true, errWrong
		}
		return user, true, nil
	}
	user, password, ok := r.BasicAuth()
	if !ok || user == "" {
		return "", true, errWrong
	}
	return user, true, s.auth().check(r.Context(), user, password)
}

// token answers with a token: for the user whose password is shown, or for
// somebody unknown where that is worth something.
func (s *Server) token(r *request) error {
	user := ""
	if s.auth() != nil {
		name, shown, err := s.who(r.Request)
		if err == nil && !shown && !s.auth().anonymous() {
			err = errWrong
		}
		if err != nil {
			r.w.Header().Set("WWW-Authenticate", `Basic realm="hod"`)
			return err
		}
		user = name
	}
	t := s.seal(user, s.now().Add(tokenTime))
	return writeJSON(r, "application/json", map[string]any{"token": t, "access_token": t, "expires_in": int(tokenTime.Seconds())})
}

// challenge says how to become known.
func (s *Server) challenge(w http.ResponseWriter, r *http.Request, kind, repo string) {
	h := w.Header()
	if s.auth().anonymous() {
		scope := ""
		switch {
		case kind == "catalog":
			scope = `,scope="registry:catalog:*"`
		case repo != "":
			scope = fmt.Sprintf(`,scope="repository:%s:%s"`, repo, scopeOf(rights[kind][r.Method]))
		}
		h.Add("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/v2/_token",service="hod"%s`, s.url(r), scope))
	}
	h.Add("WWW-Authenticate", `Basic realm="hod"`)
}

func scopeOf(r right) string {
	if r == push {
		return "pull,push"
	}
	return string(r)
}

// url is where this server is, as configured or as the client named it; what
// proxies add is not believed.
func (s *Server) url(r *http.Request) string {
	if s.o.URL != "" {
		return strings.TrimSuffix(s.o.URL, "/")
	}
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
