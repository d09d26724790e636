package access

import (
	"net/http"

	"haloingest/pipeline/record"
)

type accountView struct {
	User
	Tokens []Token
	Token  string // that was just made
	Min    int
}

// Sessions64 is for templates.
func (u User) Sessions64() int64 { return int64(u.Sessions) }

func (g *Gate) showAccount(w http.ResponseWriter, r *http.Request) { g.accountPage(w, r, "") }

func (g *Gate) accountPage(w http.ResponseWriter, r *http.Request, token string) {
	ctx := r.Context()
	x, err := g.users.Get(ctx, Of(ctx).User)
	if err != nil {
		g.failed(w, r, err)
		return
	}
	tokens, err := g.users.Tokens(ctx, x.ID)
	if err != nil {
		g.failed(w, r, err)
		return
	}
	g.render(w, r, g.pages.account, http.StatusOK, "Your account", accountView{User: x, Tokens: tokens, Token: token, Min: minPassword})
}

func (g *Gate) changeAccount(w http.ResponseWriter, r *http.Request) {
	if !g.form(w, r) {
		return
	}
	ctx := r.Context()
	me := Of(ctx).User
	switch r.PostForm.Get("action") {
	case "password":
		g.changePassword(w, r)
	case "token":
		token, err := g.users.AddToken(ctx, me, record.CleanText(r.PostForm.Get("label")))
		if err != nil {
			g.done(w, r, accountPath, "", err)
			return
		}
		g.accountPage(w, r, token)
	case "revoke":
		token, err := record.ParseUUID(r.PostForm.Get("token"))
		if err != nil {
			g.refuse(w, r, http.StatusBadRequest, "", "")
			return
		}
		g.done(w, r, accountPath, "The token is revoked.", g.users.RevokeToken(ctx, me, token))
	case "signout":
		if err := g.users.EndSessions(ctx, me); err != nil {
			g.failed(w, r, err)
			return
		}
		http.Redirect(w, r, loginPath, http.StatusSeeOther)
	default:
		g.refuse(w, r, http.StatusBadRequest, "", "")
	}
}

// changePassword takes another password of somebody who knows the present one. It begins a new session in place of those that end by it.
func (g *Gate) changePassword(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	me := Of(ctx)
	password := r.PostForm.Get("password")
	if password != r.PostForm.Get("password_again") {
		g.done(w, r, accountPath, "", inputf("The two passwords are not the same."))
		return
	}
	// Whoever has found somebody's screen must not guess more often than at the door.
	ok, err := g.users.admit(ctx, me.Name, addressOf(ctx))
	if err == nil && !ok {
		err = inputf("There were too many attempts. Wait a minute, then try again.")
	}
	if err != nil {
		g.done(w, r, accountPath, "", err)
		return
	}
	x, _, err := g.users.verify(ctx, me.Name, r.PostForm.Get("current"))
	if err == nil && x.ID != me.User {
		err = inputf("That is not your present password.")
	}
	if err == nil {
		err = g.users.admitted(ctx, me.Name, addressOf(ctx))
	}
	if err == nil {
		err = g.users.SetPassword(ctx, x.ID, password)
	}
	if err == nil {
		if x, err = g.users.Get(ctx, x.ID); err == nil {
			err = g.begin(ctx, x)
		}
	}
	g.done(w, r, accountPath, "Your password is changed. Wherever else you were signed in, you are signed out.", err)
}
