package extract

import "strings"

// Signatures of file addresses are made anew for every response and expire (fact sheet, section 6), so they
// must not get into rows, knowledge and hashes: two runs over one workspace would differ. Which host
// keeps the files is not known in advance, thus the names of the parameters decide, on every host.

// urlEnds are the characters that end an address in plain text, HTML and JSON alike. A closing bracket
// that the address itself opened does not.
const urlEnds = " \t\r\n\"'<>()\\"

// stableURLs leaves out of every address in s what signs it:
//
//   - signature, sig and all of X-Amz-* and X-Goog-*, Key-Pair-Id, AWSAccessKeyId, GoogleAccessId;
//   - expires, if it is a unix time or there is one of those; an offer's "expires=2025-12-31" stays;
//   - policy and the fields of a shared access signature (se, sp, sv, sr, st, ...), if there is one of
//     those: alone they are anybody's words;
//   - token, on hosts that keep files for Intercom; elsewhere it may be what the link is about;
//   - the whole query, if such a host signed it: what else is in it was made for the same response.
//
// Letter case does not count, and in HTML &amp; parts parameters as & does. A query of which nothing is
// left goes with its question mark; fragments stay. It works on plain text, HTML and JSON alike, takes
// time linear in s, and returns s itself where nothing is signed. It is idempotent.
func stableURLs(s string) string {
	q := strings.IndexByte(s, '?')
	if q < 0 {
		return s
	}
	var out []byte
	done := 0         // what is before is in out
	start, at := 0, 0 // start of the run of address characters that holds s[at]
	for {
		if i := strings.LastIndexAny(s[at:q], urlEnds); i >= 0 {
			start = at + i + 1
		}
		end := queryEnd(s, q+1)
		if end > q+2 {
			query, address := s[q+1:end], s[start:q]
			if found, host := signed(query, address); found != unsigned && strings.ContainsAny(address, "./") {
				out = appendUnsigned(append(out, s[done:q]...), query, found, host)
				done = end
			}
		}
		start, at = end, end
		if q = strings.IndexByte(s[at:], '?'); q < 0 {
			break
		}
		q += at
	}
	if done == 0 {
		return s
	}
	return string(append(out, s[done:]...))
}

// queryEnd returns where the query that begins at i ends: before a character that no address holds, a
// fragment, an entity other than &amp;, or the full stop of the sentence around it.
func queryEnd(s string, i int) int {
	from, open := i, 0
scan:
	for ; i < len(s); i++ {
		switch s[i] {
		case ' ', '\t', '\r', '\n', '"', '\'', '<', '>', '\\', '#':
			break scan
		case '(':
			open++
		case ')':
			if open--; open < 0 {
				break scan
			}
		case '&':
			n := separator(s[i:])
			if n == 0 {
				break scan
			}
			i += n - 1
		}
	}
	for i > from && strings.IndexByte(".,:!", s[i-1]) >= 0 {
		i--
	}
	return i
}

// separator returns the length of the ampersand that s begins with, 0 if it is another character's entity.
func separator(s string) int {
	if len(s) > 1 && s[1] != '#' && (s[1]|0x20 < 'a' || s[1]|0x20 > 'z') {
		return 1
	}
	for _, amp := range [...]string{"&amp;", "&#38;", "&#038;", "&#x26;"} {
		if foldPrefix(s, amp) {
			return len(amp)
		}
	}
	for _, end := range [...]string{"&quot;", "&lt;", "&gt;", "&nbsp;", "&apos;", "&#"} {
		if foldPrefix(s, end) {
			return 0
		}
	}
	return 1
}

// eachParameter calls f with every parameter of a query and the ampersand before it.
func eachParameter(query string, f func(amp, parameter string)) {
	from, amp := 0, ""
	for i := 0; i < len(query); {
		n := 0
		switch query[i] {
		case '&':
			n = max(separator(query[i:]), 1)
		case '?': // somebody's second query
			n = 1
		default:
			i++
			continue
		}
		f(amp, query[from:i])
		amp = query[i : i+n]
		i += n
		from = i
	}
	f(amp, query[from:])
}

type signing uint8

const (
	unsigned  signing = iota
	dated             // a time at which it expires, but no signature
	signature         // one of the names that only signed addresses have
	whole             // likewise, on a host that signs nothing but its own files
)

// signed says what there is to leave out of the query of an address.
func signed(query, address string) (found signing, host hostClass) {
	eachParameter(query, func(_, p string) {
		class := classify(p)
		if host == unknownHost && (class == ofSignature || class == ofToken) {
			host = fileHost(address)
		}
		switch {
		case class == ofSignature && host == intercomHost:
			found = whole
		case class == ofSignature, class == ofToken && host != otherHost:
			found = max(found, signature)
		case class == ofDate:
			found = max(found, dated)
		}
	})
	return found, host
}

// appendUnsigned appends what is left of a query, with its question mark.
func appendUnsigned(dst []byte, query string, found signing, host hostClass) []byte {
	if found == whole {
		return dst
	}
	mark := "?"
	eachParameter(query, func(amp, p string) {
		if p == "" {
			return
		}
		switch classify(p) {
		case ofSignature, ofDate:
			return
		case withSignature:
			if found == signature {
				return
			}
		case ofToken:
			if host != otherHost {
				return
			}
		}
		if mark != "" {
			amp, mark = mark, ""
		}
		dst = append(append(dst, amp...), p...)
	})
	return dst
}

type parameterClass uint8

const (
	ofAnybody     parameterClass = iota
	ofSignature                  // only signed addresses have it
	ofDate                       // a unix time at which something expires
	withSignature                // signs something where there is a signature, too
	ofToken
)

// signingNames are in lower case. Sources: the query forms of Amazon S3 (versions 2 and 4), CloudFront,
// Google Cloud Storage (versions 2 and 4), and Azure's shared access signatures.
var signingNames = map[string]parameterClass{
	"signature": ofSignature, "sig": ofSignature, "key-pair-id": ofSignature, "awsaccesskeyid": ofSignature, "googleaccessid": ofSignature,
	"policy": withSignature, "se": withSignature, "sp": withSignature, "sv": withSignature, "sr": withSignature,
	"st": withSignature, "spr": withSignature, "ss": withSignature, "srt": withSignature, "skoid": withSignature, "sktid": withSignature,
	"skt": withSignature, "ske": withSignature, "sks": withSignature, "skv": withSignature,
	"token": ofToken,
}

func classify(parameter string) parameterClass {
	eq := strings.IndexByte(parameter, '=')
	if eq < 2 {
		return ofAnybody
	}
	name, value := parameter[:eq], parameter[eq+1:]
	if foldPrefix(name, "x-amz-") || foldPrefix(name, "x-goog-") {
		return ofSignature
	}
	if strings.EqualFold(name, "expires") {
		if len(value) >= 9 && strings.Trim(value, "0123456789") == "" {
			return ofDate
		}
		return withSignature
	}
	if len(name) > len("googleaccessid") {
		return ofAnybody
	}
	var held [len("googleaccessid")]byte
	lower := held[:len(name)]
	for i := range lower {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return signingNames[string(lower)]
}

type hostClass uint8

const (
	unknownHost hostClass = iota // not looked at
	otherHost
	storeHost    // of a service that keeps files for others
	intercomHost // Intercom's own
)

func fileHost(address string) hostClass {
	i := strings.LastIndex(address, "//")
	if i < 0 {
		return otherHost
	}
	host, _, _ := strings.Cut(address[i+2:], "/")
	host, _, _ = strings.Cut(host, ":")
	host = strings.ToLower(host)
	switch {
	case strings.Contains(host, "intercom"):
		return intercomHost
	case strings.HasSuffix(host, ".amazonaws.com"), strings.HasSuffix(host, ".cloudfront.net"):
		return storeHost
	}
	return otherHost
}
