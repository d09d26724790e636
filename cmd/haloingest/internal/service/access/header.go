package access

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"

	"haloingest/cmd/haloingest/internal/service/frame"
)

// maxForm is how large the body of a request may be that is not a webhook's.
const maxForm = 64 << 10

// contentPolicy lets a page load and send nothing but its own, and runs nothing inline. Signing in by OpenID Connect leaves by a link: the
// redirect that follows a form would have to be allowed in form-action.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'"

// secured gives every answer the headers that keep browsers strict, and turns a panic into an answer.
func (g *Gate) secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()")
		if g.o.Secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		r = r.WithContext(context.WithValue(r.Context(), addressKey{}, g.address(r)))
		tracked := &tracker{ResponseWriter: w}
		defer func() {
			fault := recover()
			if fault == nil {
				return
			}
			if err, ok := fault.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(fault)
			}
			g.log.ErrorContext(r.Context(), "a request ended in a panic", "method", r.Method, "path", r.URL.Path, "panic", fault, "stack", string(debug.Stack()))
			if tracked.written {
				panic(http.ErrAbortHandler) // who has part of an answer must not take it for the whole
			}
			g.refuse(w, r, http.StatusInternalServerError, "", "")
		}()
		next.ServeHTTP(tracked, r)
	})
}

// tracker knows whether an answer has begun.
type tracker struct {
	http.ResponseWriter
	written bool
}

func (t *tracker) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		t.written = true
	}
	t.ResponseWriter.WriteHeader(status)
}

func (t *tracker) Write(b []byte) (int, error) {
	t.written = true
	return t.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach what the server gave.
func (t *tracker) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// private keeps an answer out of every cache.
func private(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// bounded refuses a body that no form has.
func (g *Gate) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > maxForm {
			w.Header().Set("Connection", "close")
			g.refuse(w, r, http.StatusRequestEntityTooLarge, "", "")
			return
		}
		if r.Body != nil {
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		}
		next.ServeHTTP(w, r)
	})
}

// isAPI reports whether scripts ask there, who want JSON.
func isAPI(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/api/") }

// refuse answers with a page, or with JSON where scripts ask. An empty title and text are the usual ones of the status.
func (g *Gate) refuse(w http.ResponseWriter, r *http.Request, status int, title, text string) {
	w.Header().Set("Cache-Control", "no-store")
	if !isAPI(r) {
		frame.Error(w, status, title, text)
		return
	}
	if text == "" {
		text = http.StatusText(status)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": text}) // who has gone away need not be told
}

type addressKey struct{}

// addressOf is the address that a request came from; the zero Addr outside of requests.
func addressOf(ctx context.Context) netip.Addr {
	a, _ := ctx.Value(addressKey{}).(netip.Addr)
	return a
}

// address is who asks, by what the nearest machine says that is not a proxy of ours.
func (g *Gate) address(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	addr, _ := netip.ParseAddr(host)
	addr = addr.Unmap().WithZone("")
	var hops []string
	for _, line := range r.Header.Values("X-Forwarded-For") {
		hops = append(hops, strings.Split(line, ",")...)
	}
	for len(hops) > 0 && g.isProxy(addr) {
		last, err := netip.ParseAddr(strings.TrimSpace(hops[len(hops)-1]))
		if err != nil {
			break
		}
		addr, hops = last.Unmap().WithZone(""), hops[:len(hops)-1]
	}
	return addr
}

func (g *Gate) isProxy(a netip.Addr) bool {
	for _, p := range g.o.Proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
