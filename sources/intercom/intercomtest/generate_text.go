package intercomtest

import (
	"fmt"
	"strings"
	"time"
)

// writer composes bodies. It holds the values of the slots of one conversation.
type writer struct {
	r     *rng
	v     *vocabulary
	slots [9]string
}

// vocabulary is the word lists, made once per workspace.
type vocabulary struct {
	topics                                     []topic
	first, last, admins, features, devices     []string
	codes, plans, greetings, thanks, smallTalk []string
	signOffs, bot, botAnswers, remarks, tags   []string
	companyFirst, companySecond, companyForms  []string
	industries, segments, teams, months        []string
	places                                     [][3]string
}

func newVocabulary() *vocabulary {
	return &vocabulary{
		topics: topics(), first: firstNames(), last: lastNames(), admins: adminNames(), features: features(),
		devices: devices(), codes: errorCodes(), plans: plans(), greetings: greetingsCustomer(),
		thanks: thanksCustomer(), smallTalk: agentSmallTalk(), signOffs: signOffs(), bot: botLines(),
		botAnswers: botAnswers(), remarks: ratingRemarks(), tags: tagNames(), companyFirst: companyFirst(),
		companySecond: companySecond(), companyForms: companyForms(), industries: industries(),
		segments: segmentNames(), teams: teamNames(), months: months(), places: countries(),
	}
}

const (
	slotCode = iota
	slotAmount
	slotOrder
	slotDate
	slotFeature
	slotPlan
	slotN
	slotDevice
	slotEmail
)

func slotIndex(name string) int {
	switch name {
	case "code":
		return slotCode
	case "amount":
		return slotAmount
	case "order":
		return slotOrder
	case "date":
		return slotDate
	case "feature":
		return slotFeature
	case "plan":
		return slotPlan
	case "n":
		return slotN
	case "device":
		return slotDevice
	case "email":
		return slotEmail
	}
	return -1
}

func newWriter(r *rng, v *vocabulary, at int64, email string) writer {
	w := writer{r: r, v: v}
	w.slots[slotCode] = pick(r, v.codes)
	w.slots[slotAmount] = fmt.Sprintf("%s%d.%02d", pick(r, []string{"$", "€", "£"}), r.between(4, 900), r.n(100))
	w.slots[slotOrder] = fmt.Sprintf("%c%c-%d", 'A'+rune(r.n(26)), 'A'+rune(r.n(26)), r.between(10000, 99999))
	d := time.Unix(at, 0).UTC().AddDate(0, 0, -r.between(1, 20))
	w.slots[slotDate] = fmt.Sprintf("%s %d", v.months[d.Month()-1], d.Day())
	w.slots[slotFeature] = pick(r, v.features)
	w.slots[slotPlan] = pick(r, v.plans)
	w.slots[slotN] = fmt.Sprint(r.between(2, 9))
	w.slots[slotDevice] = pick(r, v.devices)
	w.slots[slotEmail] = email
	if email == "" {
		w.slots[slotEmail] = "the address on file"
	}
	return w
}

// fill replaces the slots of one sentence.
func (w *writer) fill(sentence string) string {
	if strings.IndexByte(sentence, '{') < 0 {
		return sentence
	}
	var b strings.Builder
	b.Grow(len(sentence) + 24)
	for {
		i := strings.IndexByte(sentence, '{')
		if i < 0 {
			b.WriteString(sentence)
			return b.String()
		}
		j := strings.IndexByte(sentence[i:], '}')
		b.WriteString(sentence[:i])
		if k := slotIndex(sentence[i+1 : i+j]); k >= 0 {
			b.WriteString(w.slots[k])
		}
		sentence = sentence[i+j+1:]
	}
}

// sentences picks up to n different sentences of a pool and joins them.
func (w *writer) sentences(pool []string, n int) string {
	if n > len(pool) {
		n = len(pool)
	}
	if n <= 1 {
		return w.fill(pick(w.r, pool))
	}
	at, step := w.r.n(len(pool)), 1
	if len(pool)%2 == 1 && w.r.permille(500) {
		step = 2
	}
	parts := make([]string, 0, 4)
	for range n {
		parts = append(parts, w.fill(pool[at%len(pool)]))
		at += step
	}
	return strings.Join(parts, " ")
}

// paragraphs makes a body of plain paragraphs.
func paragraphs(lines ...string) text {
	var h strings.Builder
	n := 0
	for _, l := range lines {
		n += len(l) + 16
	}
	h.Grow(n)
	for _, l := range lines {
		h.WriteString("<p>")
		escapeHTML(&h, l)
		h.WriteString("</p>")
	}
	if len(lines) == 1 {
		return text{html: h.String(), plain: lines[0]}
	}
	return text{html: h.String(), plain: strings.Join(lines, "\n")}
}

func escapeHTML(b *strings.Builder, s string) {
	from := 0
	for i := 0; i < len(s); i++ {
		esc, n := "", 1
		switch s[i] {
		case '&':
			esc = "&amp;"
		case '<':
			esc = "&lt;"
		case '>':
			esc = "&gt;"
		case '"':
			esc = "&quot;"
		case '\n':
			esc = "<br>"
		case 0xc2: // U+00A0 is two bytes
			if i+1 < len(s) && s[i+1] == 0xa0 {
				esc, n = "&nbsp;", 2
			}
		}
		if esc != "" {
			b.WriteString(s[from:i])
			b.WriteString(esc)
			i += n - 1
			from = i + 1
		}
	}
	b.WriteString(s[from:])
}

// decorate gives a body some of the markup that composers leave behind. The
// plain text stays what a reader sees.
func (w *writer) decorate(t text) text {
	switch w.r.n(14) {
	case 0: // a list
		items := []string{"Log out and close the window", "Wait for " + w.slots[slotN] + " minutes", "Log in & try again"}
		var h strings.Builder
		h.WriteString(t.html)
		h.WriteString("<ol>")
		for _, i := range items {
			h.WriteString("<li>")
			escapeHTML(&h, i)
			h.WriteString("</li>")
		}
		h.WriteString("</ol>")
		t.html, t.plain = h.String(), t.plain+"\n"+strings.Join(items, "\n")
	case 1: // a link whose text is its address
		u := "https://help.example/articles/" + strings.ToLower(strings.ReplaceAll(w.slots[slotOrder], "-", ""))
		t.html += `<p><a href="` + u + `" rel="nofollow noopener noreferrer" target="_blank">` + u + `</a></p>`
		t.plain += "\n" + u
	case 2: // a screenshot, which has no text
		t.html += `<div class="intercom-container"><img src="` + exampleFiles + `/i/o/` + w.slots[slotOrder] + `/screenshot.png"></div>`
	case 3: // emphasis
		if i := strings.IndexByte(t.plain, ' '); i > 0 && strings.HasPrefix(t.html, "<p>"+t.plain[:i]+" ") {
			t.html = "<p><b>" + t.plain[:i] + "</b>" + t.html[3+i:]
		}
	}
	return t
}

// reply wraps a customer's e-mail answer as mail clients send it: new text,
// perhaps a signature, and the quoted thread below.
func (w *writer) reply(t text, to person, at int64, previous string) text {
	when := time.Unix(at, 0).UTC()
	intro := fmt.Sprintf("On %s, %s wrote:", when.Format("Mon, Jan 2, 2006 at 15:04"), to.name)
	quote := previous
	if len(quote) > 160 {
		quote = quote[:strings.LastIndexByte(quote[:160], ' ')+1] + "..."
	}
	var h strings.Builder
	h.WriteString(t.html)
	h.WriteString(`<div class="gmail_quote"><div dir="ltr">`)
	escapeHTML(&h, intro)
	h.WriteString(`<br></div><blockquote class="gmail_quote" style="margin:0 0 0 .8ex">`)
	escapeHTML(&h, quote)
	h.WriteString(`</blockquote></div>`)
	return text{html: h.String(), plain: t.plain, quoted: intro + "\n" + quote}
}
