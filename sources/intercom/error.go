package intercom

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// Class says what a caller is to do about an Error. It follows from status and code only, never from
// a message.
type Class int

const (
	// ClassRequest is a request that Intercom does not accept: a bug of ours or a wrong setting.
	ClassRequest Class = iota
	// ClassStop is a token that does not work (any more): stop the run.
	ClassStop
	// ClassScope is a token that may not read this stream: skip the stream.
	ClassScope
	// ClassGone is an object that does not exist (any more).
	ClassGone
	// ClassTemporary is an outage, a timeout or a rate limit that outlasted all retries.
	ClassTemporary
	// ClassUnreadable is an answer that was no JSON, cut short or too large in every attempt.
	ClassUnreadable
	// ClassBusy is a company scroll that somebody else holds.
	ClassBusy
)

func (c Class) String() string {
	switch c {
	case ClassStop:
		return "token refused"
	case ClassScope:
		return "permission missing"
	case ClassGone:
		return "gone"
	case ClassTemporary:
		return "temporary"
	case ClassUnreadable:
		return "unreadable answer"
	case ClassBusy:
		return "scroll in use"
	default:
		return "request refused"
	}
}

// Error is a request that failed for good. It never holds the token or a query string.
type Error struct {
	Op        string // what was tried, e.g. "read conversation 123"
	Method    string
	Path      string // without query
	Status    int    // 0 if no answer came
	Code      string // Intercom's, "" if there was none
	Message   string // Intercom's, for people only
	Field     string // Intercom's name of the field at fault
	RequestID string // Intercom's, for its support
	Class     Class
	Hint      string // what a person can do, "" if nothing comes to mind
	Canonical string // id of the surviving contact, on 410 contact_merged
	Attempts  int
	// Alone is set on a temporary or unreadable failure while other requests of the same client
	// succeeded: the object is at fault rather than the service.
	Alone bool

	retryAfter time.Duration
	bare       bool // the body was no error list
	err        error
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s %s: ", e.Op, e.Method, e.Path)
	switch {
	case e.Status != 0 && e.Code != "":
		fmt.Fprintf(&b, "%d %s", e.Status, e.Code)
	case e.Status != 0:
		fmt.Fprintf(&b, "status %d", e.Status)
	default:
		b.WriteString("no answer")
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.err != nil {
		b.WriteString(": " + e.err.Error())
	}
	if e.Attempts > 1 {
		fmt.Fprintf(&b, " (%d attempts)", e.Attempts)
	}
	if e.RequestID != "" {
		fmt.Fprintf(&b, " (request %s)", e.RequestID)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.err }

// ClassOf returns the class of the *Error in err's chain; ok is false if there is none.
func ClassOf(err error) (c Class, ok bool) {
	var e *Error
	if errors.As(err, &e) {
		return e.Class, true
	}
	return 0, false
}

// IsGone reports whether err says that an object does not exist (any more).
func IsGone(err error) bool {
	c, ok := ClassOf(err)
	return ok && c == ClassGone
}

// Causes of ClassUnreadable, to be told apart with errors.Is.
var (
	ErrEmpty    = errors.New("the answer is empty")
	ErrNotJSON  = errors.New("the answer is not JSON")
	ErrTooLarge = errors.New("the answer is larger than the limit")
)

// ErrTokenForm is an access token that can be none, whatever Intercom would say of it.
var ErrTokenForm = errors.New("the Intercom access token holds blanks or characters that no token has")

// classify sorts a failed answer by status and code (fact sheet, section 3). Codes come first,
// because 401 and 403 are used both for dead tokens and for missing permissions.
func classify(status int, code string) Class {
	switch code {
	case "unauthorized", "token_revoked", "token_blocked", "token_expired", "token_not_found", "missing_authorization":
		return ClassStop
	case "token_unauthorized", "action_forbidden", "forbidden", "api_plan_restricted":
		return ClassScope
	case "scroll_exists":
		return ClassBusy
	case "rate_limit_exceeded", "too_many_requests", "retry_after", "server_error", "service_unavailable", "request_timeout":
		return ClassTemporary
	case "parameter_not_found", "field_not_found":
		return ClassRequest
	}
	switch {
	case status == http.StatusUnauthorized:
		return ClassStop
	case status == http.StatusForbidden, status == http.StatusPaymentRequired:
		return ClassScope
	case status == http.StatusNotFound && code == "":
		// No word of Intercom's: a proxy, or a wrong address. Taking it for a deletion would
		// bury every object there is.
		return ClassUnreadable
	case status == http.StatusNotFound, status == http.StatusGone:
		return ClassGone
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		return ClassTemporary
	}
	return ClassRequest
}

func hintFor(class Class, status int, code string) string {
	switch {
	case class == ClassStop:
		return "make a new access token in Intercom's Developer Hub and connect again"
	case code == "api_plan_restricted":
		return "the workspace's Intercom plan does not include this part of the API"
	case class == ClassScope:
		return "give the app the missing read permission in Intercom's Developer Hub, then connect again"
	case class == ClassBusy:
		return "another integration is reading companies; only one may at a time"
	case code == "intercom_version_invalid":
		return "this call needs another Intercom-Version; check the version setting"
	case status >= 300 && status < 400:
		return "redirects are not followed; check the region and the address"
	case class == ClassTemporary && status == http.StatusTooManyRequests:
		return "other apps use up the workspace's request budget; lower ours or try later"
	case class == ClassTemporary:
		return "Intercom or the network is in trouble; run the same command again later, it resumes"
	case class == ClassUnreadable && status == http.StatusNotFound:
		return "the answer did not come from Intercom; check the region and the address"
	}
	return ""
}

// maxMessage bounds, in bytes, how much of a server's text goes into an Error.
const maxMessage = 300

// parseError makes an Error of a failed answer. It accepts any body: what is not an error list
// leaves the code empty.
func parseError(status int, header http.Header, body []byte) *Error {
	e := &Error{Status: status, bare: true}
	var list struct {
		Type      string          `json:"type"`
		RequestID json.RawMessage `json:"request_id"`
		Errors    json.RawMessage `json:"errors"`
	}
	if json.Unmarshal(body, &list) == nil {
		var entries []map[string]json.RawMessage
		if json.Unmarshal(list.Errors, &entries) == nil && len(entries) > 0 {
			e.bare = false
			e.Code = scalar(entries[0]["code"])
			e.Message = scalar(entries[0]["message"])
			e.Field = scalar(entries[0]["field"])
		}
		e.RequestID = scalar(list.RequestID)
	}
	if e.RequestID == "" {
		e.RequestID = header.Get("X-Request-Id")
	}
	e.Code = plain(e.Code, 80)
	e.Message = plain(e.Message, maxMessage)
	e.Field = plain(e.Field, 80)
	e.RequestID = plain(e.RequestID, 80)
	e.Class = classify(status, e.Code)
	e.Hint = hintFor(e.Class, status, e.Code)
	if e.Class == ClassGone && e.Status == http.StatusGone {
		e.Canonical = canonicalContact(header.Values("Link"))
	}
	return e
}

// canonicalContact takes the id out of `Link: </contacts/{id}>; rel="canonical"`.
func canonicalContact(links []string) string {
	for _, value := range links {
		for link := range strings.SplitSeq(value, ",") {
			target, params, _ := strings.Cut(link, ";")
			target = strings.TrimSpace(target)
			if !strings.HasPrefix(target, "<") || !strings.HasSuffix(target, ">") {
				continue
			}
			rel := strings.ReplaceAll(strings.ReplaceAll(params, `"`, ""), " ", "")
			if !strings.Contains(";"+rel+";", ";rel=canonical;") {
				continue
			}
			_, id, ok := strings.Cut(target[1:len(target)-1], "/contacts/")
			if ok && id != "" && !strings.ContainsAny(id, "/?#") {
				return id
			}
		}
	}
	return ""
}

// scalar is the text of a JSON string or number, "" of anything else.
func scalar(raw json.RawMessage) string {
	if len(raw) == 0 {
		return ""
	}
	if raw[0] == '"' {
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return ""
		}
		return s
	}
	if raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9' {
		return string(raw)
	}
	return ""
}

// plain makes foreign text fit for a log line.
func plain(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	if len(s) > limit {
		cut := limit
		for cut > 0 && s[cut]&0xc0 == 0x80 {
			cut--
		}
		s = s[:cut] + "…"
	}
	return strings.TrimSpace(s)
}
