package access

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"haloingest/pipeline/record"
)

// local is a path of this service that somebody may be sent to, or "/": never another site, nor a page that would send them on.
func local(path string) string {
	u, err := url.Parse(path)
	switch {
	case err != nil, u.Scheme != "", u.Host != "", u.User != nil, u.Opaque != "", len(path) > 2048,
		!strings.HasPrefix(path, "/"), strings.HasPrefix(path, "//"), strings.ContainsAny(path, "\\\r\n\t"),
		// A browser reads "/." and "/.." before what follows.
		strings.Contains(u.Path, "//"), strings.Contains(u.Path, "/."), strings.Contains(u.Path, "\\"):
		return "/"
	}
	for _, own := range []string{loginPath, logoutPath, setupPath, "/api"} {
		if u.Path == own || strings.HasPrefix(u.Path, own+"/") {
			return "/"
		}
	}
	return path
}

// form reads a form. It answers, and returns false, where it cannot.
func (g *Gate) form(w http.ResponseWriter, r *http.Request) bool {
	err := r.ParseForm()
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return true
	case errors.As(err, &large):
		g.refuse(w, r, http.StatusRequestEntityTooLarge, "", "")
	default:
		g.refuse(w, r, http.StatusBadRequest, "", "")
	}
	return false
}

type loginView struct {
	Name, Next, Error string
	OIDC              string // the provider's name; "": there is none
	OIDCURL           string
	Empty             bool // there is nobody yet
}

func (g *Gate) showLogin(w http.ResponseWriter, r *http.Request) {
	next := local(r.URL.Query().Get("next"))
	who, err := g.users.identify(r.Context(), g.claimOf(r.Context()), g.store.idle)
	if err != nil {
		g.failed(w, r, err)
		return
	}
	if !who.User.IsZero() {
		http.Redirect(w, r, next, http.StatusSeeOther)
		return
	}
	g.loginPage(w, r, http.StatusOK, loginView{Next: next})
}

func (g *Gate) loginPage(w http.ResponseWriter, r *http.Request, status int, v loginView) {
	empty, err := g.users.Empty(r.Context())
	if err != nil {
		g.failed(w, r, err)
		return
	}
	v.Empty = empty
	if g.oidc != nil {
		v.OIDC, v.OIDCURL = g.oidc.o.Name, oidcPath+"?next="+url.QueryEscape(v.Next)
	}
	g.render(w, r, g.pages.login, status, "Sign in", v)
}

// errLogin is all that somebody learns whose name or password is wrong.
const errLogin = "The name or the password is wrong."

func (g *Gate) login(w http.ResponseWriter, r *http.Request) {
	if !g.form(w, r) {
		return
	}
	ctx := r.Context()
	v := loginView{Name: record.CleanText(r.PostForm.Get("username")), Next: local(r.PostForm.Get("next"))}
	password := r.PostForm.Get("password")
	addr := addressOf(ctx)
	ok, err := g.users.admit(ctx, v.Name, addr)
	if err != nil {
		g.failed(w, r, err)
		return
	}
	if !ok {
		g.log.WarnContext(ctx, "too many attempts to sign in", "address", addr)
		g.o.LoginFailed("rate")
		w.Header().Set("Retry-After", "60")
		v.Error = "There were too many attempts. Wait a minute, then try again."
		g.loginPage(w, r, http.StatusTooManyRequests, v)
		return
	}
	x, weak, err := g.users.verify(ctx, v.Name, password)
	switch {
	case errors.Is(err, errBusy):
		w.Header().Set("Retry-After", "10")
		v.Error = "Too many people sign in at this moment. Try again."
		g.loginPage(w, r, http.StatusServiceUnavailable, v)
		return
	case err != nil:
		g.failed(w, r, err)
		return
	case x.ID.IsZero():
		g.log.InfoContext(ctx, "a sign-in was refused", "address", addr)
		g.o.LoginFailed("password")
		v.Error = errLogin
		g.loginPage(w, r, http.StatusUnprocessableEntity, v)
		return
	}
	if err := g.users.admitted(ctx, v.Name, addr); err != nil {
		g.failed(w, r, err)
		return
	}
	if weak {
		if err := g.users.strengthen(ctx, x, password); err != nil {
			g.log.WarnContext(ctx, "a password could not be hashed anew", "user", x.ID, "error", err)
		}
	}
	g.signIn(w, r, x, "password", v.Next)
}

// signIn begins the session of a person who has proved who they are, and sends them on.
func (g *Gate) signIn(w http.ResponseWriter, r *http.Request, x User, by, next string) {
	ctx := r.Context()
	if err := g.store.sweep(ctx); err != nil {
		g.failed(w, r, err)
		return
	}
	if err := g.begin(ctx, x); err != nil {
		g.failed(w, r, err)
		return
	}
	if err := g.users.signedIn(With(ctx, Identity{User: x.ID, Name: x.Name}), x, by); err != nil {
		g.failed(w, r, err)
		return
	}
	g.sessions.Remove(ctx, keyNext)
	http.Redirect(w, r, next, http.StatusSeeOther)
}

// verify returns the person who has that name and password, or the zero User; it takes as long for names that there are not.
func (u *Users) verify(ctx context.Context, name, password string) (User, bool, error) {
	x, err := u.Find(ctx, name)
	if err != nil && !errors.Is(err, ErrNoUser) {
		return User{}, false, err
	}
	if len(password) > maxPassword {
		password = "" // nobody's
	}
	ok, weak, err := u.hasher.check(ctx, password, x.hash)
	if err != nil {
		return User{}, false, err
	}
	if ok && !x.Disabled {
		return x, weak, nil
	}
	if !x.ID.IsZero() {
		err = writeAudit(ctx, u.pool, record.UUID{}, "was refused to sign in", map[string]string{"name": x.Name})
		if err != nil {
			err = fmt.Errorf("record a refusal: %w", err)
		}
	}
	return User{}, false, err
}

// strengthen hashes a password anew, where that was done with less effort than is usual now.
func (u *Users) strengthen(ctx context.Context, x User, password string) error {
	hash, err := u.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	if _, err := u.pool.Exec(ctx, `UPDATE ingest.users SET password_hash = $2 WHERE id = $1 AND password_hash = $3`, x.ID, hash, x.hash); err != nil {
		return fmt.Errorf("store a password: %w", err)
	}
	return nil
}

func (u *Users) signedIn(ctx context.Context, x User, by string) error {
	_, err := u.pool.Exec(ctx, `UPDATE ingest.users SET signed_in_at = now() WHERE id = $1`, x.ID)
	if err == nil {
		err = writeAudit(ctx, u.pool, record.UUID{}, "signed in", map[string]string{"by": by})
	}
	if err != nil {
		return fmt.Errorf("record a sign-in: %w", err)
	}
	return nil
}

func (g *Gate) logout(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	who, err := g.users.identify(ctx, g.claimOf(ctx), g.store.idle)
	if err == nil {
		err = g.sessions.Destroy(ctx)
	}
	if err == nil && !who.User.IsZero() {
		err = g.Audit(With(ctx, who), record.UUID{}, "signed out", nil)
	}
	if err != nil {
		g.failed(w, r, err)
		return
	}
	http.Redirect(w, r, loginPath, http.StatusSeeOther)
}

// setupLasts is how long the form of a one-time link may be filled in.
const setupLasts = time.Hour

type setupView struct {
	First       bool
	Name, Error string
	Min         int
}

// showSetup shows the form of a one-time link. The token goes from the address into the session at once, as a digest: so it is in no
// Referer, and not in the browser's history as what one comes back to.
func (g *Gate) showSetup(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	if token := r.URL.Query().Get("token"); token != "" {
		w.Header().Set("Referrer-Policy", "no-referrer")
		stored := digest(token)
		if _, err := g.users.peekLink(ctx, stored); err != nil {
			g.linkFailed(w, r, err)
			return
		}
		g.sessions.Put(ctx, keyLink, base64.RawURLEncoding.EncodeToString(stored))
		if g.claimOf(ctx).user.IsZero() {
			g.sessions.SetDeadline(ctx, time.Now().Add(setupLasts).UTC())
		}
		http.Redirect(w, r, setupPath, http.StatusSeeOther)
		return
	}
	use, err := g.users.peekLink(ctx, g.linkOf(ctx))
	if err != nil {
		g.linkFailed(w, r, err)
		return
	}
	g.render(w, r, g.pages.setup, http.StatusOK, setupTitle(use.first), setupView{First: use.first, Name: use.user.Name, Min: minPassword})
}

func setupTitle(first bool) string {
	if first {
		return "Set up Halo ingest"
	}
	return "Set your password"
}

// linkOf is the digest of the link that the session is about.
func (g *Gate) linkOf(ctx context.Context) []byte {
	stored, err := base64.RawURLEncoding.DecodeString(g.sessions.GetString(ctx, keyLink))
	if err != nil {
		return nil
	}
	return stored
}

func (g *Gate) linkFailed(w http.ResponseWriter, r *http.Request, err error) {
	if !errors.Is(err, errLink) {
		g.failed(w, r, err)
		return
	}
	g.refuse(w, r, http.StatusGone, "This link does not work any more",
		"It has been used, or has expired, or a newer one took its place. Ask who looks after this installation for another one. Until there is "+
			"somebody, the service prints a new one when it is started; and with the command haloingest users an operator can always make one.")
}

func (g *Gate) setup(w http.ResponseWriter, r *http.Request) {
	if !g.form(w, r) {
		return
	}
	ctx := r.Context()
	stored := g.linkOf(ctx)
	use, err := g.users.peekLink(ctx, stored)
	if err != nil {
		g.linkFailed(w, r, err)
		return
	}
	v := setupView{First: use.first, Name: use.user.Name, Min: minPassword}
	if use.first {
		v.Name = record.CleanText(r.PostForm.Get("username"))
	}
	password := r.PostForm.Get("password")
	if password != r.PostForm.Get("password_again") {
		v.Error = "The two passwords are not the same."
		g.render(w, r, g.pages.setup, http.StatusUnprocessableEntity, setupTitle(v.First), v)
		return
	}
	x, err := g.users.redeem(ctx, stored, v.Name, password)
	var input *InputError
	switch {
	case errors.As(err, &input):
		v.Error = input.Text
		g.render(w, r, g.pages.setup, http.StatusUnprocessableEntity, setupTitle(v.First), v)
	case err != nil:
		g.linkFailed(w, r, err)
	default:
		g.signIn(w, r, x, "one-time link", "/")
	}
}
