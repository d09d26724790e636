package intercomtest

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseFaults reads faults in the form of the command line: faults divided by
// semicolons, each a kind and settings divided by commas:
//
//	429:rate=0.01,headers=none; 5xx:nth=3|7,path=GET /conversations/*,status=503; token-revoked:from=500
//
// The settings are path, rate, nth, from, to, every, times, status, headers
// (none, retry-after), for (a duration), bytes, location and scope (contacts,
// companies, conversations, tickets, admins, tags), as in Fault.
func ParseFaults(spec string) ([]Fault, error) {
	var out []Fault
	for _, one := range strings.Split(spec, ";") {
		one = strings.TrimSpace(one)
		if one == "" {
			continue
		}
		kind, settings, _ := strings.Cut(one, ":")
		f := Fault{Kind: FaultKind(strings.TrimSpace(kind))}
		for _, s := range strings.Split(settings, ",") {
			if s = strings.TrimSpace(s); s == "" {
				continue
			}
			k, v, ok := strings.Cut(s, "=")
			if !ok {
				return nil, fmt.Errorf("fault %s: %q is not name=value", kind, s)
			}
			if err := f.setting(k, v); err != nil {
				return nil, fmt.Errorf("fault %s: %s: %w", kind, k, err)
			}
		}
		out = append(out, f)
	}
	return out, nil
}

func (f *Fault) setting(k, v string) (err error) {
	switch k {
	case "path":
		f.Path = v
	case "rate":
		f.Rate, err = strconv.ParseFloat(v, 64)
	case "nth":
		for _, n := range strings.Split(v, "|") {
			i, err := strconv.Atoi(n)
			if err != nil {
				return err
			}
			f.Nth = append(f.Nth, i)
		}
	case "from":
		f.From, err = strconv.Atoi(v)
	case "to":
		f.To, err = strconv.Atoi(v)
	case "every":
		f.Every, err = strconv.Atoi(v)
	case "times":
		f.Times, err = strconv.Atoi(v)
	case "status":
		f.Status, err = strconv.Atoi(v)
	case "bytes":
		f.Bytes, err = strconv.Atoi(v)
	case "for":
		f.For, err = time.ParseDuration(v)
	case "headers":
		if f.Headers = Headers(v); f.Headers != HeadersNone && f.Headers != HeadersRetryAfter && f.Headers != HeadersReset {
			return fmt.Errorf("%q is neither none nor retry-after", v)
		}
	case "location":
		f.Location = v
	case "scope":
		f.Scope, err = ParseScope(v)
	default:
		return fmt.Errorf("no such setting")
	}
	return err
}

// ParseScope reads a permission by its name, or several divided by |.
func ParseScope(s string) (Scope, error) {
	var out Scope
	for _, name := range strings.Split(s, "|") {
		switch name {
		case "contacts":
			out |= ScopeContacts
		case "companies":
			out |= ScopeCompanies
		case "conversations":
			out |= ScopeConversations
		case "tickets":
			out |= ScopeTickets
		case "admins":
			out |= ScopeAdmins
		case "tags":
			out |= ScopeTags
		case "read":
			out |= ScopeRead
		case "write-companies":
			out |= ScopeWriteCompanies
		default:
			return 0, fmt.Errorf("scope %q is not known", name)
		}
	}
	return out, nil
}
