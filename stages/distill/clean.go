package distill

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What mail programs put around a reply, in lower case. Lists are short on purpose: a line that is
// taken for a quotation by mistake is lost for the knowledge, while one that is overlooked is only
// found twice.
var (
	wroteWords = []string{
		"wrote", "writes", "schrieb", "a écrit", "écrit", "escribió", "escribio", "escreveu", "ha scritto", "scritto",
		"schreef", "skrev", "kirjoitti", "napisał", "napisał(a)", "napisała", "napsal", "írta", "пишет", "написал", "написала",
		"yazdı", "a scris", "написа", "写道", "のメール", "書きました", "작성",
	}
	originalMarks = []string{
		"original message", "original appointment", "ursprüngliche nachricht", "originalnachricht", "message d'origine", "message original", "mensaje original",
		"mensagem original", "messaggio originale", "oorspronkelijk bericht", "ursprungligt meddelande", "originalmeddelande",
		"oprindelig meddelelse", "oprindelig besked", "opprinnelig melding", "alkuperäinen viesti", "исходное сообщение", "wiadomość oryginalna",
		"reply above this line", "reply above",
	}
	forwardMarks = []string{
		"forwarded message", "weitergeleitete nachricht", "message transféré", "mensaje reenviado", "mensagem encaminhada",
		"messaggio inoltrato", "doorgestuurd bericht", "vidarebefordrat meddelande", "videresendt", "пересылаемое сообщение",
	}
	fromLabels   = []string{"from", "message du", "von", "de", "da", "van", "från", "fra", "lähettäjä", "od", "от", "发件人", "差出人"}
	headerLabels = []string{
		"sent", "date", "to", "cc", "subject", "reply-to", "gesendet", "datum", "an", "betreff", "envoyé", "à", "objet", "enviado", "enviado el",
		"enviada em", "fecha", "para", "asunto", "assunto", "data", "inviato", "a", "oggetto", "verzonden", "aan", "onderwerp", "skickat", "till", "ämne",
		"sendt", "til", "emne", "dato", "lähetetty", "päivämäärä", "vastaanottaja", "aihe", "wysłano", "do", "temat", "отправлено", "кому", "дата", "тема", "sujet", "copie à", "copie", "发送时间", "收件人", "主题", "送信日時", "宛先", "件名",
	}
	// Beginnings and parts of paragraphs with which companies end all their mail.
	disclaimers = []string{
		"confidentiality notice", "disclaimer:", "legal notice:", "this e-mail and any", "this email and any", "this message and any", "this e-mail is confidential", "this email is confidential",
		"this message is confidential", "this e-mail message is", "the information contained in this", "the information in this e-mail", "the information in this email", "the contents of this e",
		"not the intended recipient", "intended solely for", "consider the environment",
		"diese e-mail enthält", "diese nachricht enthält", "diese e-mail ist", "diese nachricht ist vertraulich", "der inhalt dieser e-mail", "nicht der richtige adressat", "nicht der beabsichtigte empfänger", "haftungsausschluss:",
		"ce message et ses pièces", "ce message et toutes les pièces", "ce message est confidentiel", "ce courriel est confidentiel", "ce courriel et", "ce mail et ses pièces", "avis de confidentialité",
		"este mensaje es confidencial", "este mensaje y sus", "este correo electrónico y", "este correo es confidencial", "aviso legal", "aviso de confidencialidad", "la información contenida en este",
		"esta mensagem é confidencial", "esta mensagem e seus", "este e-mail é confidencial", "este e-mail e seus", "as informações contidas",
		"questo messaggio è confidenziale", "questo messaggio e i suoi", "questa e-mail è confidenziale", "le informazioni contenute in quest", "ai sensi del regolamento", "avviso di riservatezza",
		"dit bericht is vertrouwelijk", "dit bericht en", "deze e-mail is vertrouwelijk", "deze e-mail en", "de informatie in dit", "aan de inhoud van dit bericht",
		"detta meddelande är", "detta e-postmeddelande", "denne e-mail er", "denne e-post", "denne meldingen", "tämä viesti on", "tämä sähköposti", "niniejsza wiadomość", "ta wiadomość jest poufna", "данное сообщение является", "это сообщение конфиденциально",
	}
	deviceLines = []string{
		"sent from my ", "sent from mobile", "sent from outlook", "sent from mail for", "sent from yahoo", "sent via ", "get outlook for", "sent with ",
		"von meinem ", "gesendet von ", "envoyé de mon ", "envoyé depuis ", "envoyé à partir de ", "enviado desde mi ", "enviado desde ", "enviado do meu ",
		"enviado a partir do ", "inviato da ", "verzonden vanaf ", "verstuurd vanaf ", "skickat från ", "sendt fra ", "lähetetty ", "wysłane z ", "отправлено с ",
	}
	signOffs = []string{
		"best regards", "kind regards", "warm regards", "with kind regards", "regards", "best wishes", "best", "sincerely", "yours sincerely", "yours truly",
		"yours faithfully", "cheers", "all the best", "br", "rgds", "mit freundlichen grüßen", "mit freundlichen grüssen", "mit freundlichem gruß", "freundliche grüße", "viele grüße",
		"liebe grüße", "beste grüße", "schöne grüße", "herzliche grüße", "mfg", "lg", "vg", "gruß", "grüße", "cordialement", "bien cordialement",
		"bien à vous", "salutations", "sincères salutations", "saludos", "un saludo", "saludos cordiales", "atentamente", "cordialmente",
		"atenciosamente", "abraços", "cumprimentos", "cordiali saluti", "distinti saluti", "saluti", "met vriendelijke groet",
		"met vriendelijke groeten", "vriendelijke groeten", "groeten", "groetjes", "med vänliga hälsningar", "vänliga hälsningar", "mvh",
		"med venlig hilsen", "med vennlig hilsen", "vh", "hilsen", "ystävällisin terveisin", "pozdrawiam", "z poważaniem", "с уважением", "saygılarımla",
	}
	thanksOffs = []string{
		"thanks", "thank you", "many thanks", "thanks again", "thanks a lot", "thanks in advance", "thank you in advance", "danke", "vielen dank", "besten dank", "merci", "merci d'avance", "merci beaucoup",
		"gracias", "muchas gracias", "obrigado", "obrigada", "grazie", "grazie mille", "bedankt", "alvast bedankt", "tack", "tak", "takk", "kiitos", "dziękuję", "спасибо",
	}
)

// appendClean appends to dst the parts of a message that its author wrote for this conversation:
// the text without quoted replies and signatures, as byte ranges, in order. Quotations go because what
// they repeat is told already, or was redacted, or is another person's; what a customer forwards stays.
// A message that is nothing but a signature is kept whole, one that is nothing but a quotation gives
// nothing unless it is the opening one, which can have nothing here to quote.
func appendClean(dst []Span, text string, opening bool) []Span {
	if strings.IndexByte(text, '\n') < 0 {
		return appendTrimmed(dst, text, skipSpace(text, 0, len(text)), len(text))
	}
	mark := len(dst)
	var held [64]Span
	lines := appendLines(held[:0], text)
	cut := cutQuotation(text, lines)
	lines = lines[:cut.from]
	lines = lines[:cutDisclaimer(text, lines)]
	end := cutSignature(text, lines)
	dst = joinLines(dst, text, lines[:end], cut.forwarded)
	if len(dst) > mark {
		return dst
	}
	if dst = joinLines(dst, text, lines, cut.forwarded); len(dst) == mark && opening {
		dst = appendTrimmed(dst, text, skipSpace(text, 0, len(text)), len(text))
	}
	return dst
}

func appendLines(dst []Span, text string) []Span {
	for i := 0; i <= len(text); {
		n := strings.IndexByte(text[i:], '\n')
		if n < 0 {
			n = len(text) - i
		}
		dst = append(dst, Span{i, i + n})
		i += n + 1
	}
	return dst
}

// joinLines appends the lines that are not quoted, neighbours as one range. Lines from forwarded on
// are kept as they are.
func joinLines(dst []Span, text string, lines []Span, forwarded int) []Span {
	mark, open := len(dst), -1
	for i, l := range lines {
		if i < forwarded && quoted(line(text, l)) || i < forwarded && l.Start < 0 {
			open = -1
			continue
		}
		if open < 0 {
			dst = append(dst, l)
			open = len(dst) - 1
		}
		dst[open].End = l.End
	}
	kept := dst[:mark]
	for _, s := range dst[mark:] {
		s.Start = skipSpace(text, s.Start, s.End)
		if s.End = trimEnd(text, s.Start, s.End); s.End > s.Start {
			kept = append(kept, s)
		}
	}
	return kept
}

func line(text string, l Span) string {
	if l.Start < 0 {
		return ""
	}
	return strings.TrimSpace(text[l.Start:l.End])
}

// quoted reports whether a line is one that a mail program quotes with ">".
func quoted(s string) bool {
	s = strings.TrimLeft(s, " \t")
	if s == "" || s[0] != '>' {
		return false
	}
	if len(s) == 1 || s[1] == ' ' || s[1] == '>' || s[1] == '\t' || s[1] == '\r' {
		return true
	}
	r, _ := utf8.DecodeRuneInString(s[1:])
	return unicode.IsLetter(r) || r == '*'
}

type quotation struct {
	from      int // the first line of the quotation that ends the message, or the number of lines
	forwarded int // the line from which on nothing is quotation, because it is forwarded
}

// cutQuotation finds where the quoted history at the end of a message begins. The header of a
// quotation with text behind it is only taken out itself (its line's Start becomes -1).
func cutQuotation(text string, lines []Span) quotation {
	none := quotation{from: len(lines), forwarded: len(lines)}
	for i := range lines {
		s := line(text, lines[i])
		if s == "" {
			continue
		}
		switch c := s[0]; {
		case c == '-' || c == '_' || c == '*' || c == '#' || c == 'B' || c == 'b':
			if len(s) > 120 {
				break
			}
			low := strings.ToLower(s)
			ruled := strings.HasPrefix(low, "--") || strings.HasPrefix(low, "__") || strings.HasPrefix(low, "##") || strings.HasPrefix(low, "**")
			if ruled && len(s) > 12 && endsWith(strings.TrimRight(low, "-_ "), wroteWords) { // "---- On …, Ann wrote ----"
				return quotation{from: i, forwarded: len(lines)}
			}
			if (ruled || strings.HasPrefix(low, "begin forwarded")) && containsAny(low, forwardMarks) {
				return quotation{from: len(lines), forwarded: i}
			}
			if ruled && containsAny(low, originalMarks) {
				return quotation{from: i, forwarded: len(lines)}
			}
			if ruled && strings.Trim(s, "-_* ") == "" {
				if next := nextFull(text, lines, i+1); next < len(lines) && headerBlock(text, lines, next) {
					return quotation{from: i, forwarded: len(lines)}
				}
			}
		}
		if headerBlock(text, lines, i) {
			return quotation{from: i, forwarded: len(lines)}
		}
		n := replyHeader(text, lines, i)
		if n == 0 {
			continue
		}
		next := nextFull(text, lines, i+n)
		if next < len(lines) && !quoted(line(text, lines[next])) || next == len(lines) {
			return quotation{from: i, forwarded: len(lines)}
		}
		for k := i; k < i+n; k++ {
			lines[k].Start = -1
		}
	}
	return none
}

func nextFull(text string, lines []Span, i int) int {
	for i < len(lines) && line(text, lines[i]) == "" {
		i++
	}
	return i
}

// headerBlock reports whether an Outlook-style header (From, Sent, To, Subject) begins at line i. It may begin with the date.
func headerBlock(text string, lines []Span, i int) bool {
	first := line(text, lines[i])
	if !labelled(first, fromLabels) {
		if !labelled(first, headerLabels) {
			return false
		}
		from, others := 0, 0
		for k := i + 1; k < len(lines) && k <= i+3; k++ {
			from += b2i(labelled(line(text, lines[k]), fromLabels))
			others += b2i(labelled(line(text, lines[k]), headerLabels))
		}
		return from == 1 && others == 2
	}
	labels := 0
	for k := i + 1; k < len(lines) && k <= i+6; k++ {
		if labelled(line(text, lines[k]), headerLabels) {
			labels++
		}
	}
	return labels >= 2
}

func labelled(s string, labels []string) bool {
	n := strings.IndexByte(s, ':')
	if n < 0 {
		if n = strings.Index(s, "："); n < 0 {
			return false
		}
	}
	if n > 40 {
		return false
	}
	label := strings.ToLower(strings.Trim(s[:n], "*> \t\u00a0"))
	return slices.Contains(labels, label)
}

// replyHeader returns how many lines from i on are "On <date>, <name> wrote:" in some language, or 0.
func replyHeader(text string, lines []Span, i int) int {
	digits, size := 0, 0
	for n := 1; n <= 3 && i+n <= len(lines); n++ {
		s := line(text, lines[i+n-1])
		if s == "" || quoted(s) {
			return 0
		}
		if size += len(s); size > 300 {
			return 0
		}
		if n == 1 && len(s) < 20 && strings.HasSuffix(s, ",") && strings.IndexAny(s, "0123456789@<") < 0 {
			return 0 // "Hi,"
		}
		for k := 0; k < len(s); k++ {
			if isDigit(s[k]) {
				digits++
			}
		}
		colon := strings.HasSuffix(s, ":") || strings.HasSuffix(s, "：")
		if !colon && endsClause(s) {
			return 0 // the end of what was said before
		}
		if !colon && digits < 7 {
			continue
		}
		low := strings.ToLower(text[lines[i].Start:lines[i+n-1].End])
		address := strings.Contains(low, "@")
		switch {
		case !colon: // "On Wed, 14 Nov 2018 08:14 Ann <ann@example.com> wrote"
			if address && endsWith(low, wroteWords) {
				return n
			}
			continue
		case address && strings.Contains(low, "<") && digits >= 8: // "30.09.2017, 18.30, Ann <ann@example.com>:"
			return n
		}
		least := 3
		if address && strings.HasPrefix(low, "on ") {
			least = 1
		}
		for _, w := range wroteWords {
			if at := strings.LastIndex(low, w); at >= 0 && digits >= least && bounded(low, at, at+len(w)) {
				return n
			}
		}
		return 0
	}
	return 0
}

func endsWith(s string, list []string) bool {
	s = strings.TrimSpace(s)
	return slices.ContainsFunc(list, func(e string) bool { return strings.HasSuffix(s, e) })
}

func bounded(s string, from, to int) bool {
	before, _ := utf8.DecodeLastRuneInString(s[:from])
	after, _ := utf8.DecodeRuneInString(s[to:])
	wide := s[from] >= 0xE3 // Chinese, Japanese and Korean write no spaces
	return wide || !unicode.IsLetter(before) && !unicode.IsLetter(after)
}

// cutDisclaimer returns how many of the lines are above a disclaimer, which is a paragraph of its own at the end.
func cutDisclaimer(text string, lines []Span) int {
	full := 0
	for i := len(lines) - 1; i > 0 && full <= 30; i-- {
		s := line(text, lines[i])
		if s == "" {
			continue
		}
		full++
		above := strings.Trim(line(text, lines[i-1]), "-_=* ")
		if above != "" || len(s) > 4000 {
			continue
		}
		low := strings.ToLower(strings.TrimLeft(s[:min(len(s), 400)], "*_-! "))
		if at := strings.Index(low, " "); at < 0 || !containsAny(low, disclaimers) || strings.HasSuffix(s, "?") {
			continue
		}
		if next := nextFull(text, lines, 0); next < i {
			return i
		}
	}
	return len(lines)
}

// cutSignature returns how many of the lines are above the signature.
func cutSignature(text string, lines []Span) int {
	for len(lines) > 0 && strings.Trim(line(text, lines[len(lines)-1]), "-—–_=* ") == "" { // a rule above what was cut
		lines = lines[:len(lines)-1]
	}
	end := cutContacts(text, lines)
	if end < len(lines) {
		return end
	}
	full := 0 // lines with text below the one looked at
	for i := len(lines) - 1; i >= 0 && i >= len(lines)-25; i-- {
		s := line(text, lines[i])
		if s == "" {
			continue
		}
		switch {
		case s == "--" || s == "—" || s == "__":
			if full <= 12 {
				end = i
			}
		case len(s) >= 2 && full <= 8 && strings.Trim(s, "-—–_=* ") == "":
			if full > 0 && shortLines(text, lines[i+1:end], 80) {
				end = i
			}
		case full <= 6 && len(s) <= 90 && hasPrefixAny(strings.ToLower(strings.TrimLeft(s, "-—_ ")), deviceLines) && !endsClause(s):
			end = i
		case full <= 7 && len(s) <= 60:
			word := strings.ToLower(strings.TrimRight(s, ",.!;: "))
			if slices.Contains(signOffs, word) && shortLines(text, lines[i+1:end], 80) {
				end = i
			} else if full <= 4 && slices.Contains(thanksOffs, word) && shortLines(text, lines[i+1:end], 50) {
				end = i + 1 // that they thank is worth knowing
			}
		}
		full++
		if full > 15 {
			break
		}
	}
	return end
}

// cutContacts returns how many of the lines are above a last paragraph that is a name with two or more ways to reach its
// owner, each on its line.
func cutContacts(text string, lines []Span) int {
	i, contacts := len(lines)-1, 0
	for ; i > 0 && len(lines)-i <= 8; i-- {
		s := line(text, lines[i])
		if s == "" {
			break
		}
		contacts += b2i(isContact(s))
	}
	if i <= 0 || line(text, lines[i]) != "" || contacts < 2 || !shortLines(text, lines[i+1:], 60) {
		return len(lines)
	}
	words := strings.Fields(line(text, lines[i+1]))
	for _, w := range words {
		if r, _ := utf8.DecodeRuneInString(w); !unicode.IsUpper(r) || strings.ContainsAny(w, ":@/") {
			return len(lines)
		}
	}
	if len(words) < 2 || len(words) > 4 {
		return len(lines)
	}
	return i
}

// isContact reports whether a line is nothing but an address or number.
func isContact(s string) bool {
	if !strings.Contains(s, " ") && (strings.Contains(s, "@") || strings.HasPrefix(s, "www.") || strings.HasPrefix(s, "http")) {
		return true
	}
	digits := 0
	for i := range len(s) {
		digits += b2i(isDigit(s[i]))
	}
	return digits >= 6 && strings.Trim(s, "0123456789+()-./ ") == ""
}

// shortLines reports whether all lines look like those of a signature: short, and no sentence.
func shortLines(text string, lines []Span, width int) bool {
	for _, l := range lines {
		s := line(text, l)
		if utf8.RuneCountInString(s) > width || strings.ContainsAny(s, "?!") || endsClause(s) && len(strings.Fields(s)) > 4 {
			return false
		}
	}
	return true
}

func endsClause(s string) bool {
	return strings.HasSuffix(s, ".") || strings.HasSuffix(s, "?") || strings.HasSuffix(s, "!") || strings.HasSuffix(s, ":")
}

// substantial reports whether a text has anything to read: a letter, a digit or a symbol.
func substantial(s string) bool {
	for _, r := range s {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsSymbol(r) {
			return true
		}
	}
	return false
}

func containsAny(s string, list []string) bool {
	for _, e := range list {
		if strings.Contains(s, e) {
			return true
		}
	}
	return false
}

func hasPrefixAny(s string, list []string) bool {
	for _, e := range list {
		if strings.HasPrefix(s, e) {
			return true
		}
	}
	return false
}
