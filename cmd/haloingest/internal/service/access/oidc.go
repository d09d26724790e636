package access

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/jackc/pgx/v5"
	"golang.org/x/oauth2"
	"golang.org/x/text/unicode/norm"

	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
)

// OIDC is a provider of OpenID Connect at which people may sign in. Who they are here is found by their e-mail address, which the provider has
// to say is verified; nobody comes in who is not known by it already.
type OIDC struct {
	Issuer   string // the URL in the provider's discovery document
	ClientID string
	Secret   secret.Text
	Name     string // on the button; "": single sign-on
	// Admin is the e-mail address of who becomes the first overseer by signing in while there is nobody; "": nobody does.
	Admin string
	HTTP  *http.Client // nil: http.DefaultClient, with a time-out
}

// provider is what is known of one. It is asked for its addresses when somebody signs in first, and again after a failure.
type provider struct {
	o    OIDC
	back string

	mu    sync.Mutex
	found *oidc.Provider
}

// oidcPatience is how long a provider may take to answer.
const oidcPatience = 15 * time.Second

// oidcLasts is how long somebody may take at the provider.
const oidcLasts = 15 * time.Minute

func newProvider(o OIDC, publicURL string) (*provider, error) {
	switch {
	case publicURL == "":
		return nil, errors.New("OpenID Connect needs the public URL of this service: the provider sends people back there")
	case o.Issuer == "" || o.ClientID == "":
		return nil, errors.New("OpenID Connect needs an issuer and a client id")
	}
	if o.Name == "" {
		o.Name = "single sign-on"
	}
	if o.HTTP == nil {
		o.HTTP = &http.Client{Timeout: oidcPatience}
	}
	return &provider{o: o, back: publicURL + oidcPath + "/callback"}, nil
}

// get returns the provider. The keys that it signs with are fetched later, under the context of this client alone.
func (p *provider) get(ctx context.Context) (*oidc.Provider, *oauth2.Config, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found == nil {
		ctx, cancel := context.WithTimeout(oidc.ClientContext(context.WithoutCancel(ctx), p.o.HTTP), oidcPatience)
		defer cancel()
		found, err := oidc.NewProvider(ctx, p.o.Issuer)
		if err != nil {
			return nil, nil, fmt.Errorf("ask %s for its addresses: %w", p.o.Issuer, err)
		}
		p.found = found
	}
	return p.found, &oauth2.Config{ClientID: p.o.ClientID, ClientSecret: p.o.Secret.Reveal(), Endpoint: p.found.Endpoint(), RedirectURL: p.back,
		Scopes: []string{oidc.ScopeOpenID, "email"}}, nil
}

func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// startOIDC sends somebody to the provider. It is a link and no form, which form-action would not let leave.
func (g *Gate) startOIDC(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	_, config, err := g.oidc.get(ctx)
	if err != nil {
		g.oidcFailed(w, r, err)
		return
	}
	state, nonce, proof := random(), random(), oauth2.GenerateVerifier()
	g.sessions.Put(ctx, keyState, state)
	g.sessions.Put(ctx, keyNonce, nonce)
	g.sessions.Put(ctx, keyProof, proof)
	g.sessions.Put(ctx, keyNext, local(r.URL.Query().Get("next")))
	if g.claimOf(ctx).user.IsZero() {
		g.sessions.SetDeadline(ctx, time.Now().Add(oidcLasts).UTC())
	}
	http.Redirect(w, r, config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(proof)), http.StatusSeeOther)
}

func (g *Gate) oidcFailed(w http.ResponseWriter, r *http.Request, err error) {
	g.log.WarnContext(r.Context(), "a sign-in by OpenID Connect failed", "error", err)
	g.o.LoginFailed("oidc")
	g.refuse(w, r, http.StatusBadGateway, "Signing in by "+g.oidc.o.Name+" did not work",
		"The provider did not answer as it should; the log of this service says how. Try again, or sign in with a password.")
}

// finishOIDC takes somebody back from the provider.
func (g *Gate) finishOIDC(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	// The address has a code in it.
	w.Header().Set("Referrer-Policy", "no-referrer")
	state, nonce, proof := g.sessions.PopString(ctx, keyState), g.sessions.PopString(ctx, keyNonce), g.sessions.PopString(ctx, keyProof)
	q := r.URL.Query()
	if state == "" || subtle.ConstantTimeCompare([]byte(state), []byte(q.Get("state"))) != 1 {
		g.refuse(w, r, http.StatusBadRequest, "This sign-in was not begun here", "It may have taken too long, or was begun in another browser. Sign in again.")
		return
	}
	if q.Has("error") {
		g.refuse(w, r, http.StatusForbidden, "The provider did not sign you in", "Sign in again, or ask who looks after the provider.")
		return
	}
	email, err := g.oidc.email(ctx, q.Get("code"), nonce, proof)
	if err != nil {
		g.oidcFailed(w, r, err)
		return
	}
	x, err := g.users.byEmail(ctx, email, g.oidc.o.Admin)
	switch {
	case errors.Is(err, ErrNoUser):
		g.refuse(w, r, http.StatusForbidden, "You are not known here",
			"You are signed in at "+g.oidc.o.Name+", but there is nobody here with your verified e-mail address. Ask who looks after this installation to add you under it.")
	case err != nil:
		g.failed(w, r, err)
	default:
		g.signIn(w, r, x, "OpenID Connect", local(g.sessions.GetString(ctx, keyNext)))
	}
}

// email exchanges a code for the verified e-mail address of who comes; "" if there is none that is verified.
func (p *provider) email(ctx context.Context, code, nonce, proof string) (string, error) {
	found, config, err := p.get(ctx)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.o.HTTP), oidcPatience)
	defer cancel()
	token, err := config.Exchange(ctx, code, oauth2.VerifierOption(proof))
	if err != nil {
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) { // its text has the whole answer
			return "", fmt.Errorf("exchange a code: the provider says %q", refused.ErrorCode)
		}
		return "", fmt.Errorf("exchange a code: %w", err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return "", errors.New("exchange a code: the provider gave no ID token")
	}
	id, err := found.VerifierContext(ctx, &oidc.Config{ClientID: p.o.ClientID}).Verify(ctx, raw)
	if err != nil {
		return "", fmt.Errorf("verify an ID token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1 {
		return "", errors.New("verify an ID token: it is the answer to another question (nonce)")
	}
	var claims struct {
		Email    string `json:"email"`
		Verified any    `json:"email_verified"`
	}
	if err := id.Claims(&claims); err != nil {
		return "", fmt.Errorf("read an ID token: %w", err)
	}
	// Some providers write it as a text.
	if yes, text := claims.Verified.(bool); !yes && (text || claims.Verified != "true") {
		return "", nil
	}
	return claims.Email, nil
}

// byEmail is who has a verified e-mail address as their name. While there is nobody at all, admin becomes the first overseer.
func (u *Users) byEmail(ctx context.Context, email, admin string) (x User, err error) {
	// Names are compared by what they look like; an address must not become another one by that.
	if !strings.Contains(email, "@") || norm.NFKC.String(email) != email {
		return User{}, ErrNoUser
	}
	if x, err = u.Find(ctx, email); err == nil && x.Disabled {
		return User{}, ErrNoUser
	}
	if !errors.Is(err, ErrNoUser) || admin == "" || nameKey(email) != nameKey(admin) {
		return x, err
	}
	err = u.inTx(ctx, "add the first overseer", func(tx pgx.Tx) error {
		var somebody bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM ingest.users)`).Scan(&somebody); err != nil {
			return err
		}
		if somebody {
			return ErrNoUser
		}
		if x, err = insertUser(ctx, tx, email, "", true); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM ingest.access_links WHERE user_id IS NULL`); err != nil {
			return err
		}
		return writeAudit(With(ctx, Identity{User: x.ID, Name: x.Name}), tx, record.UUID{}, "became the first overseer", map[string]string{"by": "OpenID Connect"})
	})
	return x, err
}
