package intercom

import (
	"bytes"
	"net/url"
	"path"
	"strconv"
	"strings"

	"golang.org/x/net/html"

	"haloingest/pipeline/record"
)

// fileLink is a file that an object names, with the address at which it can be had for a while.
type fileLink struct {
	record.AttachmentFile
	signed string
}

// fileFinder collects the files of one object.
type fileFinder struct {
	address fileAddress
	links   []fileLink
	next    map[string]int // number of the next file, by message
}

// find lists the files that a conversation or ticket names, in the order of the document: the attachments of its messages
// and files in their texts, and files in attributes. Redacted messages have none. Of parts with one id the last counts, as in
// the rows. whole is false where Intercom gives the newest parts only.
func (f fileAddress) find(kind record.Kind, id string, body []byte) (links []fileLink, whole bool) {
	w := fileFinder{address: f, next: map[string]int{}}
	list, attributes := "conversation_parts", "custom_attributes"
	if kind == record.KindTicket {
		list, attributes = "ticket_parts", "ticket_attributes"
	}
	parts := 0
	members(body, func(name string, value []byte) {
		switch name {
		case "source":
			if kind == record.KindConversation {
				source := scalar(member(value, "id"))
				if source == "" {
					source = "source-" + id
				}
				w.message(source, value)
			}
		case attributes:
			w.attributes(attributes, value)
		case list:
			parts = w.parts(listOf(value, list))
		}
	})
	const most = 500
	return w.links, parts < most
}

// listOf is an array, or the array that an object holds.
func listOf(value []byte, name string) []byte {
	if len(value) > 0 && value[0] == '{' {
		if inner := member(value, name); len(inner) > 0 && inner[0] == '[' {
			return inner
		}
		return member(value, "data")
	}
	return value
}

func (w *fileFinder) parts(list []byte) int {
	n := 0
	last := map[string][]byte{}
	var ids []string
	elements(list, func(raw []byte) {
		n++
		id := record.CleanText(scalar(member(raw, "id")))
		if id == "" {
			w.message("", raw)
			return
		}
		if _, twice := last[id]; !twice {
			ids = append(ids, id)
		}
		last[id] = raw
	})
	for _, id := range ids {
		w.message(id, last[id])
	}
	return n
}

// message adds the files of one message.
func (w *fileFinder) message(id string, raw []byte) {
	id = record.CleanText(id)
	var files, body []byte
	redacted := false
	members(raw, func(name string, value []byte) {
		switch name {
		case "attachments":
			files = listOf(value, "attachments")
		case "body":
			body = value
		case "redacted":
			switch v := string(bytes.Trim(value, `"`)); v {
			case "true", "1", "yes":
				redacted = true
			default:
				redacted = false
			}
		}
	})
	if redacted {
		return
	}
	from := len(w.links)
	elements(files, func(entry []byte) {
		if len(entry) > 0 && entry[0] == '{' {
			w.attachment(id, entry)
		}
	})
	w.inline(id, body, from)
}

// attachment adds an entry of a list of files.
func (w *fileFinder) attachment(id string, entry []byte) {
	if w.next[id] == record.InlineBase {
		return // a hundred times what Intercom takes
	}
	l := fileLink{AttachmentFile: record.AttachmentFile{MessageID: id, N: w.next[id]}}
	w.next[id]++
	members(entry, func(name string, value []byte) {
		switch name {
		case "name":
			l.Name = record.CleanText(scalar(value))
		case "content_type":
			l.ContentType = record.CleanText(scalar(value))
		case "url":
			l.signed = scalar(value)
		case "filesize":
			if n, err := strconv.ParseFloat(scalar(value), 64); err == nil && n > 0 && n < 1<<53 {
				l.Size = int64(n)
			}
		}
	})
	l.URL = withoutSignature(l.signed)
	w.links = append(w.links, l)
}

// withoutSignature is the form in which rows hold the address of a file.
func withoutSignature(address string) string {
	address = record.CleanText(address)
	if i := strings.IndexAny(address, "?#"); i >= 0 {
		return address[:i]
	}
	return address
}

// attributes adds files that stand in attributes: lists of uploads, or one.
func (w *fileFinder) attributes(field string, raw []byte) {
	members(raw, func(name string, value []byte) {
		id := field + "." + clipText(record.CleanText(name), 200)
		add := func(entry []byte) {
			if len(entry) > 0 && entry[0] == '{' && scalar(member(entry, "url")) != "" &&
				(scalar(member(entry, "type")) == "upload" || member(entry, "filesize") != nil || member(entry, "content_type") != nil) {
				w.attachment(id, entry)
			}
		}
		switch {
		case len(value) == 0:
		case value[0] == '[':
			elements(value, add)
		case value[0] == '{':
			add(value)
		case value[0] == '"':
			w.inline(id, value, len(w.links))
		}
	})
}

// inline adds the files that a text shows or leads to and that lie with Intercom; what is elsewhere is not ours to keep.
// What the message has as an attachment (links from the index on) does not count twice.
func (w *fileFinder) inline(id string, body []byte, from int) {
	if len(body) == 0 || body[0] != '"' || !bytes.Contains(body, []byte("<")) || !bytes.Contains(body, []byte("//")) {
		return
	}
	tokens := html.NewTokenizer(strings.NewReader(scalar(body)))
	for {
		switch tokens.Next() {
		case html.ErrorToken:
			return
		case html.StartTagToken, html.SelfClosingTagToken:
		default:
			continue
		}
		tag, more := tokens.TagName()
		attribute := ""
		switch string(tag) {
		case "img", "video", "audio", "source":
			attribute = "src"
		case "a":
			attribute = "href"
		}
		for more && attribute != "" {
			var key, value []byte
			key, value, more = tokens.TagAttr()
			if string(key) == attribute {
				w.lead(id, strings.TrimSpace(string(value)), from)
			}
		}
	}
}

// lead adds the file that an address in a text leads to.
func (w *fileFinder) lead(id, address string, from int) {
	if strings.HasPrefix(address, "//") {
		address = "https:" + address
	}
	u, err := url.Parse(address)
	if err != nil || w.address.check(u) != nil {
		return
	}
	stable := withoutSignature(address)
	for _, l := range w.links[from:] {
		if l.URL == stable {
			return
		}
	}
	name := path.Base(u.Path)
	if name == "." || name == "/" {
		return // no file, but the host's front page
	}
	const inline = "\x00inline" // no id holds a NUL
	n := record.InlineBase + w.next[id+inline]
	w.next[id+inline]++
	w.links = append(w.links, fileLink{record.AttachmentFile{
		MessageID: id, N: n, URL: stable, Name: clipText(record.CleanText(name), 255),
	}, address})
}

// clipText cuts s to n bytes, at the end of a character.
func clipText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}
