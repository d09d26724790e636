package extract

import (
	"bytes"
	"html"
	"strconv"
	"strings"
	"unicode/utf8"

	nethtml "golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// maxIndent bounds how deep quotes and lists are shown, so that markup nested a thousand times does
// not grow by its square.
const maxIndent = 8

// htmlReader turns the HTML of message bodies into plain text for people and search. It keeps what
// carries meaning: paragraphs, line breaks, lists with their numbers, rows of tables ("a | b"), quotes
// ("> "), preformatted text as it stands, the address of a link behind its text, the alternative text
// of a picture. Scripts, styles and everything else of the markup go, entities are decoded, runs of
// blanks and of empty lines become one. A body without markup keeps its line breaks.
//
// The tokens are those of golang.org/x/net/html, which follow the HTML standard. The two most common
// forms of body (no markup at all; one paragraph of text alone) do not get there and cost no memory.
// The reader's buffers are reused; not safe for concurrent use.
type htmlReader struct {
	out    []byte
	breaks int  // line breaks owed before the next text
	blank  bool // a blank owed
	cell   bool // a cell of a table began
	pre    int
	quotes int
	lists  []htmlList
	marker string // of the list item that begins with the next text
	links  []htmlLink
	hidden atom.Atom // the element whose text is not shown, 0 if none
	fresh  bool      // directly behind <pre>, where a line break does not count
}

type htmlList struct {
	ordered bool
	n       int
}

type htmlLink struct {
	href string
	from int // where its text begins in out; -1 while it has none
}

// text returns the plain text of a body that is valid UTF-8 without NUL, and so is the result.
func (h *htmlReader) text(body string) string {
	if !hasMarkup(body) {
		if strings.IndexByte(body, '&') >= 0 {
			body = html.UnescapeString(body)
		}
		return plainText(body)
	}
	if s, ok := soleParagraph(body); ok {
		return s
	}
	*h = htmlReader{out: h.out[:0], lists: h.lists[:0], links: h.links[:0]}
	z := nethtml.NewTokenizer(strings.NewReader(body))
	for {
		switch z.Next() {
		case nethtml.ErrorToken: // the only error of a strings.Reader is its end
			for len(h.links) > 0 {
				h.endLink()
			}
			text := strings.TrimRight(string(h.out), " \n\t")
			if cap(h.out) > 1<<20 {
				h.out = nil
			}
			return text
		case nethtml.TextToken:
			switch {
			case h.hidden != 0:
			default:
				s := z.Raw() // z.Text copies
				if bytes.IndexByte(s, '&') >= 0 {
					s = []byte(html.UnescapeString(string(s)))
				}
				if h.pre > 0 {
					h.preformatted(string(s))
				} else {
					h.flowing(s)
				}
			}
		case nethtml.StartTagToken, nethtml.SelfClosingTagToken:
			name, more := z.TagName()
			h.start(z, atom.Lookup(name), more)
		case nethtml.EndTagToken:
			name, _ := z.TagName()
			h.end(atom.Lookup(name))
		}
	}
}

// hasMarkup reports whether any '<' begins a tag or comment.
func hasMarkup(s string) bool {
	for {
		i := strings.IndexByte(s, '<')
		if i < 0 || i+1 >= len(s) {
			return false
		}
		switch c := s[i+1]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '/', c == '!', c == '?':
			return true
		}
		s = s[i+1:]
	}
}

// plainText tidies a text without markup.
func plainText(s string) string {
	if strings.IndexByte(s, '\r') >= 0 {
		s = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s)
	}
	for strings.Contains(s, "\n\n\n") {
		s = strings.ReplaceAll(s, "\n\n\n", "\n\n")
	}
	return strings.TrimSpace(s)
}

// soleParagraph returns the text of a body that is one paragraph of text in which nothing needs work.
func soleParagraph(body string) (string, bool) {
	inner, ok := strings.CutPrefix(body, "<p>")
	if !ok {
		return "", false
	}
	if inner, ok = strings.CutSuffix(inner, "</p>"); !ok {
		return "", false
	}
	before := byte(' ')
	for i := 0; i < len(inner); i++ {
		c := inner[i]
		switch {
		case c == '<' || c == '&' || c == ' ' && before == ' ' || c < ' ' && isSpace(c):
			return "", false
		case c == 0xC2 && i+1 < len(inner) && inner[i+1] == 0xA0: // no-break space
			return "", false
		}
		before = c
	}
	return inner, before != ' ' || inner == ""
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' }

// owe asks for at least n line breaks before the next text.
func (h *htmlReader) owe(n int) {
	h.breaks = max(h.breaks, n)
	h.blank, h.cell = false, false
}

// begin writes what is owed before a text.
func (h *htmlReader) begin() {
	switch {
	case len(h.out) == 0 || h.breaks > 0:
		if len(h.out) > 0 {
			for range h.breaks {
				h.out = append(h.out, '\n')
			}
		}
		for range min(h.quotes, maxIndent) {
			h.out = append(h.out, "> "...)
		}
		for range min(len(h.lists), maxIndent) - 1 {
			h.out = append(h.out, "  "...)
		}
		if h.marker != "" {
			h.out = append(h.out, h.marker...)
		} else if len(h.lists) > 0 {
			h.out = append(h.out, "  "...)
		}
	case h.cell:
		h.out = append(h.out, " | "...)
	case h.blank:
		h.out = append(h.out, ' ')
	}
	h.breaks, h.blank, h.cell, h.marker, h.fresh = 0, false, false, "", false
	if n := len(h.links); n > 0 && h.links[n-1].from < 0 {
		h.links[n-1].from = len(h.out)
	}
}

// flowing writes text in which runs of white space are one blank.
func (h *htmlReader) flowing(s []byte) {
	for i := 0; i < len(s); {
		c := s[i]
		if isSpace(c) {
			h.blank = true
			i++
			continue
		}
		if c == 0xC2 && i+1 < len(s) && s[i+1] == 0xA0 {
			h.blank = true
			i += 2
			continue
		}
		end := i + 1
		for end < len(s) && !isSpace(s[end]) && (s[end] != 0xC2 || end+1 >= len(s) || s[end+1] != 0xA0) {
			end++
		}
		h.begin()
		h.out = append(h.out, s[i:end]...)
		i = end
	}
}

// preformatted writes text as it stands.
func (h *htmlReader) preformatted(s string) {
	if h.fresh {
		s = strings.TrimPrefix(strings.TrimPrefix(s, "\r"), "\n")
		h.fresh = false
	}
	for line := range strings.Lines(s) {
		text := strings.TrimRight(line, "\r\n")
		if text != "" {
			h.begin()
			h.out = append(h.out, text...)
		}
		if len(text) < len(line) {
			h.breaks++
		}
	}
}

func (h *htmlReader) start(z *nethtml.Tokenizer, a atom.Atom, more bool) {
	if h.hidden != 0 {
		return
	}
	switch a {
	case atom.Script, atom.Style, atom.Title, atom.Template, atom.Noscript, atom.Iframe, atom.Noembed, atom.Noframes:
		h.hidden = a
	case atom.Br:
		if h.breaks < 2 || h.pre > 0 {
			h.breaks++
		}
		h.blank, h.cell = false, false
	case atom.P:
		switch {
		case h.marker != "": // the first of a list item
		case more && strings.Contains(attribute(z, "class"), "no-margin"):
			h.owe(1) // so Intercom's composer marks the lines of one paragraph
		default:
			h.owe(2)
		}
	case atom.Pre:
		h.owe(2)
		h.pre++
		h.fresh = true
	case atom.Blockquote:
		h.owe(1)
		h.quotes++
	case atom.Ul, atom.Ol:
		h.owe(1)
		list := htmlList{ordered: a == atom.Ol}
		if list.ordered && more {
			if n, err := strconv.Atoi(attribute(z, "start")); err == nil && n > 0 && n < 1e9 {
				list.n = n - 1
			}
		}
		h.lists = append(h.lists, list)
	case atom.Li:
		h.owe(1)
		h.marker = "- "
		if n := len(h.lists); n > 0 && h.lists[n-1].ordered {
			h.lists[n-1].n++
			h.marker = strconv.Itoa(h.lists[n-1].n) + ". "
		}
	case atom.Td, atom.Th:
		h.cell = true
	case atom.Hr:
		h.owe(2)
	case atom.A:
		for len(h.links) > 0 { // links do not nest
			h.endLink()
		}
		href := ""
		if more {
			href = strings.TrimSpace(attribute(z, "href"))
		}
		h.links = append(h.links, htmlLink{stableURLs(href), -1})
	case atom.Img:
		if more {
			if alt := strings.TrimSpace(attribute(z, "alt")); alt != "" {
				h.flowing([]byte(alt))
			}
		}
	default:
		if n := blockBreaks(a); n > 0 {
			h.owe(n)
		}
	}
}

func (h *htmlReader) end(a atom.Atom) {
	if h.hidden != 0 {
		if a == h.hidden {
			h.hidden = 0
		}
		return
	}
	switch a {
	case atom.P:
		h.owe(1) // the next paragraph owes the second one, unless it is a line of this one
	case atom.Pre:
		h.pre = max(h.pre-1, 0)
		h.breaks = min(h.breaks, 1)
		h.owe(2)
	case atom.Blockquote:
		h.owe(1)
		h.quotes = max(h.quotes-1, 0)
	case atom.Ul, atom.Ol:
		h.owe(1)
		if n := len(h.lists); n > 0 {
			h.lists = h.lists[:n-1]
		}
	case atom.Li:
		h.owe(1)
		h.marker = ""
	case atom.A:
		if len(h.links) > 0 {
			h.endLink()
		}
	default:
		if n := blockBreaks(a); n > 0 {
			h.owe(n)
		}
	}
}

// blockBreaks is how many line breaks stand before and behind an element.
func blockBreaks(a atom.Atom) int {
	switch a {
	case atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Table:
		return 2
	case atom.Div, atom.Tr, atom.Section, atom.Article, atom.Header, atom.Footer, atom.Main, atom.Nav, atom.Aside,
		atom.Address, atom.Figure, atom.Figcaption, atom.Form, atom.Fieldset, atom.Dl, atom.Dt, atom.Dd, atom.Center,
		atom.Thead, atom.Tbody, atom.Tfoot, atom.Caption, atom.Body, atom.Html, atom.Details, atom.Summary:
		return 1
	}
	return 0
}

// endLink writes the address of the innermost link behind its text, where the text does not say it.
func (h *htmlReader) endLink() {
	link := h.links[len(h.links)-1]
	h.links = h.links[:len(h.links)-1]
	if link.href == "" || link.href[0] == '#' || foldPrefix(link.href, "javascript:") || foldPrefix(link.href, "data:") {
		return
	}
	address := link.href
	for _, scheme := range [...]string{"mailto:", "tel:"} {
		if foldPrefix(address, scheme) {
			address = address[len(scheme):]
		}
	}
	switch {
	case link.from < 0: // a link around a picture
		h.begin()
		h.out = append(h.out, address...)
	case bareAddress(string(h.out[link.from:])) != bareAddress(address):
		h.out = append(append(append(h.out, " ("...), address...), ')')
	}
}

func foldPrefix(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// bareAddress is the form in which a link's text and address are compared.
func bareAddress(s string) string {
	for _, prefix := range [...]string{"https://", "http://", "www."} {
		if foldPrefix(s, prefix) {
			s = s[len(prefix):]
		}
	}
	return strings.TrimRight(s, "/")
}

// attribute returns one attribute of the tag that the tokenizer is at, "" if it has none.
func attribute(z *nethtml.Tokenizer, name string) (found string) {
	for {
		key, val, more := z.TagAttr()
		if found == "" && string(key) == name {
			found = strings.ToValidUTF8(string(val), string(utf8.RuneError))
		}
		if !more {
			return found
		}
	}
}
