package access_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/cmd/haloingest/internal/service/access"
)

// issuer is a small OpenID provider that keeps to the rules: discovery, keys, codes that work once and with their verifier only.
type issuer struct {
	t      *testing.T
	server *httptest.Server
	key    *rsa.PrivateKey

	mu     sync.Mutex
	codes  map[string]url.Values // what was asked for
	claims map[string]any        // of who signs in there; may be changed to be wrong
	signer *rsa.PrivateKey       // another one than key: a forger
	down   bool
}

const clientSecret = "the client's secret"

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{t: t, key: key, signer: key, codes: map[string]url.Values{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.down {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		i.json(w, map[string]any{"issuer": i.server.URL, "authorization_endpoint": i.server.URL + "/authorize", "token_endpoint": i.server.URL + "/token",
			"jwks_uri": i.server.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"}})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, r *http.Request) {
		i.json(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("GET /authorize", i.authorize)
	mux.HandleFunc("POST /token", i.token)
	i.server = httptest.NewServer(mux)
	t.Cleanup(i.server.Close)
	return i
}

func (i *issuer) json(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		i.t.Error(err)
	}
}

func (i *issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("client_id") != "haloingest" || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || !strings.Contains(q.Get("scope"), "openid") ||
		len(q.Get("state")) < 32 || len(q.Get("nonce")) < 32 {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	code := rand.Text()
	i.mu.Lock()
	i.codes[code] = q
	i.mu.Unlock()
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {q.Get("state")}}.Encode(), http.StatusFound)
}

func (i *issuer) token(w http.ResponseWriter, r *http.Request) {
	user, pass, _ := r.BasicAuth()
	i.mu.Lock()
	defer i.mu.Unlock()
	asked, ok := i.codes[r.PostFormValue("code")]
	delete(i.codes, r.PostFormValue("code"))
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if secret, _ := url.QueryUnescape(pass); user != "haloingest" || secret != clientSecret || !ok || r.PostFormValue("redirect_uri") != asked.Get("redirect_uri") ||
		base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge") {
		w.WriteHeader(http.StatusBadRequest)
		i.json(w, map[string]string{"error": "invalid_grant"})
		return
	}
	claims := map[string]any{"iss": i.server.URL, "aud": "haloingest", "sub": "1", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(), "nonce": asked.Get("nonce")}
	maps.Copy(claims, i.claims)
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: i.signer, KeyID: "k"}}, nil)
	if err != nil {
		i.t.Error(err)
		return
	}
	id, err := jwt.Signed(s).Claims(claims).Serialize()
	if err != nil {
		i.t.Error(err)
		return
	}
	i.json(w, map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": id})
}

func (i *issuer) says(claims map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.claims = claims
}

func (i *issuer) options(admin string) access.Options {
	return access.Options{OIDC: &access.OIDC{Issuer: i.server.URL, ClientID: "haloingest", Secret: secret.NewText(clientSecret), Name: "Example ID", Admin: admin}}
}

// viaIssuer goes to the provider and comes back; it stops at the first answer that is no redirect, or that leads to a page of the service.
func (v *visitor) viaIssuer(start string) reply {
	v.t.Helper()
	r := v.get(start)
	for range 3 {
		if r.status/100 != 3 || strings.HasPrefix(r.location, "/") {
			return r
		}
		r = v.get(r.location)
	}
	return r
}

func TestPeopleSignInByOpenIDConnectUnderTheirVerifiedAddress(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	h := open(t, i.options(""))
	h.person("Ada@example.com", true, nil)
	u := h.person("bob@example.com", false, nil)
	if err := h.gate.Users().SetDisabled(h.as(), u.ID, true); err != nil {
		t.Fatal(err)
	}
	if r := h.visitor().get("/login?next=/people"); !strings.Contains(r.body, `href="/login/oidc?next=%2fpeople"`) && !strings.Contains(r.body, `href="/login/oidc?next=%2Fpeople"`) || !strings.Contains(r.body, "Example ID") {
		t.Errorf("the page has no such link: %s", r.body)
	}
	for _, verified := range []any{true, "true"} {
		i.says(map[string]any{"email": "ada@Example.com", "email_verified": verified})
		v := h.visitor()
		if r := v.viaIssuer("/login/oidc?next=/people"); r.status != http.StatusSeeOther || r.location != "/people" {
			t.Fatalf("verified %v: %d to %q, %s", verified, r.status, r.location, h.log)
		}
		if who := v.is(); who != "Ada@example.com" {
			t.Errorf("verified %v: signed in is %q", verified, who)
		}
	}
	forger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		claims map[string]any
		signer *rsa.PrivateKey
		want   int
	}{
		"not verified":            {map[string]any{"email": "ada@example.com", "email_verified": false}, nil, http.StatusForbidden},
		"verified unsaid":         {map[string]any{"email": "ada@example.com"}, nil, http.StatusForbidden},
		"verified no":             {map[string]any{"email": "ada@example.com", "email_verified": "false"}, nil, http.StatusForbidden},
		"unknown":                 {map[string]any{"email": "eve@example.com", "email_verified": true}, nil, http.StatusForbidden},
		"disabled":                {map[string]any{"email": "bob@example.com", "email_verified": true}, nil, http.StatusForbidden},
		"no address":              {map[string]any{"email_verified": true}, nil, http.StatusForbidden},
		"an address like it":      {map[string]any{"email": "\uff41da@example.com", "email_verified": true}, nil, http.StatusForbidden},
		"of another question":     {map[string]any{"email": "ada@example.com", "email_verified": true, "nonce": "x"}, nil, http.StatusBadGateway},
		"for another client":      {map[string]any{"email": "ada@example.com", "email_verified": true, "aud": "x"}, nil, http.StatusBadGateway},
		"of another issuer":       {map[string]any{"email": "ada@example.com", "email_verified": true, "iss": "https://x.example"}, nil, http.StatusBadGateway},
		"expired":                 {map[string]any{"email": "ada@example.com", "email_verified": true, "exp": 1}, nil, http.StatusBadGateway},
		"signed by a forger":      {map[string]any{"email": "ada@example.com", "email_verified": true}, forger, http.StatusBadGateway},
		"while there is an admin": {map[string]any{"email": "root@example.com", "email_verified": true}, nil, http.StatusForbidden},
	} {
		i.says(c.claims)
		i.mu.Lock()
		i.signer = i.key
		if c.signer != nil {
			i.signer = c.signer
		}
		i.mu.Unlock()
		v := h.visitor()
		if r := v.viaIssuer("/login/oidc"); r.status != c.want {
			t.Errorf("%s: %d, want %d", what, r.status, c.want)
		}
		if who := v.is(); who != "" {
			t.Errorf("%s: signed in as %q", what, who)
		}
	}
}

func TestASignInThatWasNotBegunHereIsRefused(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	h := open(t, i.options(""))
	h.person("ada@example.com", true, nil)
	i.says(map[string]any{"email": "ada@example.com", "email_verified": true})
	begin := func(v *visitor) string { // up to the address at which the provider sends back
		t.Helper()
		r := v.get("/login/oidc")
		if r.status != http.StatusSeeOther {
			t.Fatalf("%d", r.status)
		}
		return v.get(r.location).location
	}
	victim, attacker := h.visitor(), h.visitor()
	back := begin(attacker)
	if r := victim.get(back); r.status != http.StatusBadRequest || victim.is() != "" {
		t.Errorf("the answer for another browser: %d", r.status)
	}
	if r := attacker.get(back); r.status != http.StatusSeeOther {
		t.Fatalf("%d %s", r.status, h.log)
	}
	if r := attacker.get(back); r.status != http.StatusBadRequest {
		t.Errorf("the same answer again: %d", r.status)
	}
	changed := begin(victim)
	if r := victim.get(strings.Replace(changed, "code=", "code=x", 1)); r.status != http.StatusBadGateway {
		t.Errorf("another code: %d", r.status)
	}
	begin(victim)
	if r := victim.get("/login/oidc/callback?state=&code=x"); r.status != http.StatusBadRequest {
		t.Errorf("an empty state: %d", r.status)
	}
	refused := begin(victim)
	u, err := url.Parse(refused)
	if err != nil {
		t.Fatal(err)
	}
	if r := victim.get("/login/oidc/callback?error=access_denied&state=" + url.QueryEscape(u.Query().Get("state"))); r.status != http.StatusForbidden {
		t.Errorf("refused there: %d", r.status)
	}
	i.mu.Lock()
	i.down = true
	i.mu.Unlock()
	fresh := open(t, i.options(""))
	if r := fresh.visitor().get("/login/oidc"); r.status != http.StatusBadGateway {
		t.Errorf("while the provider is down: %d", r.status)
	}
	i.mu.Lock()
	i.down = false
	i.mu.Unlock()
	if r := fresh.visitor().get("/login/oidc"); r.status != http.StatusSeeOther {
		t.Errorf("when it is back: %d", r.status)
	}
}

func TestTheFirstPersonComesByOpenIDConnectOnlyIfNamed(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	h := open(t, i.options("Root@example.com"))
	link := h.firstLink()
	i.says(map[string]any{"email": "eve@example.com", "email_verified": true})
	if r := h.visitor().viaIssuer("/login/oidc"); r.status != http.StatusForbidden {
		t.Errorf("somebody else: %d", r.status)
	}
	i.says(map[string]any{"email": "root@example.com", "email_verified": false})
	if r := h.visitor().viaIssuer("/login/oidc"); r.status != http.StatusForbidden {
		t.Errorf("not verified: %d", r.status)
	}
	i.says(map[string]any{"email": "root@example.com", "email_verified": true})
	v := h.visitor()
	if r := v.viaIssuer("/login/oidc"); r.status != http.StatusSeeOther {
		t.Fatalf("named: %d %s", r.status, h.log)
	}
	if r := v.get("/people"); r.status != http.StatusOK {
		t.Errorf("the first person does not look after the installation: %d", r.status)
	}
	if r := h.visitor().get(link); r.status != http.StatusGone {
		t.Errorf("the first link still works: %d", r.status)
	}
}
