package rawhttp

import (
	"fmt"
	"strings"
)

// Case is what a caller sends, byte by byte. {get} and {post} stand for a path that
// the caller may GET or POST, {no} for one that it may not, {host} for the host
// that it calls.
type Case struct {
	Name string
	Send string
	// Answers is how many answers are to be expected, 1 for 0.
	Answers int
	// Waits is set where more has to come before there is an answer.
	Waits bool
}

// Cases returns every case. Names are unique.
func Cases() []Case {
	var all []Case
	for _, group := range [][]Case{
		versions(), requestLines(), methods(), targets(), hosts(), fields(), sizes(), framing(), chunks(), lineEnds(),
		connections(),
		pipelines(), strangers(),
	} {
		all = append(all, group...)
	}
	return all
}

// get is a GET with more fields.
func get(name string, fields ...string) Case {
	return Case{Name: name, Send: "GET {get} HTTP/1.1\r\nHost: {host}\r\n" + lines(fields) + "\r\n"}
}

// post is a POST with these fields and this body.
func post(name, body string, fields ...string) Case {
	return Case{Name: name, Send: "POST {post} HTTP/1.1\r\nHost: {host}\r\n" + lines(fields) + "\r\n" + body}
}

func lines(fields []string) string {
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(f + "\r\n")
	}
	return b.String()
}

func line(name, requestLine string) Case {
	return Case{Name: name, Send: requestLine + "\r\nHost: {host}\r\n\r\n"}
}

func waits(c Case) Case {
	c.Waits = true
	return c
}

func answers(n int, c Case) Case {
	c.Answers = n
	return c
}

func versions() []Case {
	return []Case{
		line("HTTP/1.0", "GET {get} HTTP/1.0"),
		{Name: "HTTP/1.0 kept alive", Send: "GET {get} HTTP/1.0\r\nHost: {host}\r\nConnection: keep-alive\r\n\r\n"},
		{Name: "HTTP/1.0 without a host", Send: "GET {get} HTTP/1.0\r\n\r\n"},
		{Name: "HTTP/1.0 with chunks", Send: "POST {post} HTTP/1.0\r\nHost: {host}\r\nTransfer-Encoding: " +
			"chunked\r\n\r\n0\r\n\r\n"},
		line("HTTP/1.2", "GET {get} HTTP/1.2"),
		line("HTTP/2.0 in a request line", "GET {get} HTTP/2.0"),
		line("HTTP/3.0", "GET {get} HTTP/3.0"),
		line("HTTP/0.9 by name", "GET {get} HTTP/0.9"),
		{Name: "HTTP/0.9", Send: "GET {get}\r\n\r\n"},
		line("version in lower case", "GET {get} http/1.1"),
		line("version of three digits", "GET {get} HTTP/1.10"),
		line("version with a zero before it", "GET {get} HTTP/01.1"),
		line("version without a minor", "GET {get} HTTP/1"),
		line("version without a number", "GET {get} HTTP/"),
		line("version of another protocol", "GET {get} RTSP/1.0"),
		line("words behind the version", "GET {get} HTTP/1.1 or so"),
	}
}

func requestLines() []Case {
	return []Case{
		line("two spaces after the method", "GET  {get} HTTP/1.1"),
		line("two spaces after the target", "GET {get}  HTTP/1.1"),
		line("a tab after the method", "GET\t{get} HTTP/1.1"),
		line("a tab after the target", "GET {get}\tHTTP/1.1"),
		line("a space before the method", " GET {get} HTTP/1.1"),
		line("a space behind the version", "GET {get} HTTP/1.1 "),
		line("an empty line first", "\r\nGET {get} HTTP/1.1"),
		line("two empty lines first", "\r\n\r\nGET {get} HTTP/1.1"),
		line("five empty lines first", "\r\n\r\n\r\n\r\n\r\nGET {get} HTTP/1.1"),
		line("a line feed first", "\nGET {get} HTTP/1.1"),
		line("a carriage return first", "\rGET {get} HTTP/1.1"),
		line("a space in the target", "GET {get} x HTTP/1.1"),
		line("no target", "GET  HTTP/1.1"),
		line("a method alone", "GET"),
		line("a carriage return in the line", "GET {get}\r HTTP/1.1"),
		line("a NUL in the line", "GET {get}\x00 HTTP/1.1"),
	}
}

func methods() []Case {
	var all []Case
	for _, m := range []string{
		"HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "M-SEARCH", "SUBSCRIBE", "SOURCE", "PURGE",
		"FOO", "get", "Get", "G ET", "QUERY", "PRI", "G@T", "GÉT", strings.Repeat("A", 100), "",
	} {
		name := "method " + m
		if len(m) > 20 {
			name = "method of 100 letters"
		}
		all = append(all, line(name, m+" {get} HTTP/1.1"))
	}
	return all
}

func targets() []Case {
	var all []Case
	for _, t := range []string{
		"http://{host}{get}", "https://{host}{get}", "HTTP://{host}{get}", "hTTp://other.example{get}",
		"http://{host}:80{get}",
		"http://{host}:{get}", "http://{host}:99999{get}", "http://{host}:x{get}", "http://{host}", "http://{host}?a=b",
		"http://{host}#a",
		"http://user@{host}{get}", "http://user:secret@{host}{get}", "http://us er@{host}{get}",
		"http://a@b@{host}{get}",
		"http://{get}", "http://:", "http:///", "http://[::1]{get}", "http://[::1{get}", "http://ho_st{get}",
		"http://{host},x{get}",
		"ftp://{host}{get}", "ws://{host}{get}", "://{host}{get}", "http:{get}", "{host}{get}", "*", "?a=b", "#a", ".",
		"{get}?a=b", "{get}?", "{get}?a b", "{get}?a=\"<>\"", "{get}#a", "{get}?a#b", "{get}/../{get}", "{get}/..{get}",
		"/.{get}", "/x/..{get}",
		"/%2e{get}", "/x/%2e%2e{get}", "/x/%2E%2e{get}", "/..;x{get}", "/{get}", "{get}/", "{get}//", "{get};a=b",
		"{get}%2f", "{get}%00", "{get}%zz", "{get}%",
		"{get}%0d%0a", "{get}%7f", "\\x\\..{get}", "/x\\..{get}", "{get}\x7f", "{get}\x80", "{get}é", "{get}\x01",
		"{get}|", "{get}\"", "{get}<", "{get}^`{}",
		"{get}?" + strings.Repeat("a", 8<<10), "{get}?" + strings.Repeat("a", 50<<10),
	} {
		name := "target " + fmt.Sprintf("%q", t)
		if len(t) > 100 {
			name = fmt.Sprintf("target of %d KiB", len(t)>>10)
		}
		all = append(all, line(name, "GET "+t+" HTTP/1.1"))
	}
	for _, t := range []string{"{host}:80", "{host}", "{host}:", "{host}:x", "{get}", "http://{host}{get}", "*",
		"[::1]:80"} {
		all = append(all, line(fmt.Sprintf("CONNECT %q", t), "CONNECT "+t+" HTTP/1.1"))
	}
	return append(all, line("OPTIONS *", "OPTIONS * HTTP/1.1"), line("OPTIONS of an absolute target without a path",
		"OPTIONS http://{host} HTTP/1.1"))
}

func hosts() []Case {
	var all []Case
	for _, h := range []string{
		"", " ", "{host}:80", "{host}:8080", "{host}:", "{host}:x", "{host}:99999", "other.example", "user@{host}",
		"{host}/x", "{host}?x", "{host}#x", "a b", "a,b",
		"UPPER.example", "under_score", "[::1]", "[::1", "::1", "trailing.", "\t{host}\t", "{host}\x00", "{host}\x80",
		"%41", "http://{host}", "*", "\"{host}\"",
	} {
		all = append(all, Case{Name: fmt.Sprintf("Host %q", h), Send: "GET {get} HTTP/1.1\r\nHost:" + h + "\r\n\r\n"})
	}
	return append(all,
		Case{Name: "no Host", Send: "GET {get} HTTP/1.1\r\n\r\n"},
		get("two Hosts alike", "Host: {host}"),
		get("two Hosts", "Host: other.example"),
		get("a second Host that is empty", "Host:"),
		get("Host in lower case twice", "host: {host}"),
		get("a :authority field", ":authority: other.example"),
		Case{Name: "Host of 8 KiB", Send: "GET {get} HTTP/1.1\r\nHost: " + strings.Repeat("a", 8<<10) + "\r\n\r\n"},
		Case{Name: "no Host but an absolute target", Send: "GET http://{host}{get} HTTP/1.1\r\n\r\n"},
	)
}

func fields() []Case {
	all := []Case{
		get("an empty value", "A:"), get("spaces around a value", "A: \t b \t"), get("no space before the value",
			"A:b"),
		get("a tab within a value", "A: b\tc"), get("a carriage return within a value", "A: b\rc"),
		get("a carriage return ends a value", "A: b\r"),
		get("a NUL within a value", "A: b\x00c"), get("a DEL within a value", "A: b\x7fc"),
		get("a control character within a value", "A: b\x01c"),
		get("bytes beyond ASCII within a value", "A: \x80\xff"), get("UTF-8 within a value", "A: café"),
		get("a folded value", "A: b", " c"), get("a value folded by a tab", "A: b", "\tc"), get("a value folded twice",
			"A: b", " c", " d"),
		get("an empty fold", "A: b", " "), get("a folded Host", "Host:", " other.example"),
		{Name: "a fold before any field", Send: "GET {get} HTTP/1.1\r\n A: b\r\nHost: {host}\r\n\r\n"},
		get("a folded length", "Content-Length:", " 0"),
		get("a space before the colon", "A : b"), get("a tab before the colon", "A\t: b"), get("no colon", "A"),
		get("a colon alone", ":"), get("no name", ": b"),
		get("a space in a name", "A B: c"), get("a name beyond ASCII", "É: b"), get("a NUL in a name", "A\x00: b"),
		get("a name of marks", "!#$%&'*+-.^_`|~: b"),
		get("a quote in a name", "A\": b"), get("parentheses in a name", "A(b): c"), get("an underscore in a name",
			"a_b: c"), get("a slash in a name", "a/b: c"),
		get("a bracket in a name", "a[b]: c"), get("a field given twice", "A: b", "A: c"), get("a pseudo-header",
			":path: /x"), get("a name in capitals", "ACCEPT: x"),
		get("cookies given twice", "Cookie: a=b", "Cookie: c=d"),
	}
	return all
}

func sizes() []Case {
	var all []Case
	for _, n := range []int{80, 99, 100, 101, 150, 201, 400} {
		var f []string
		for i := range n - 1 {
			f = append(f, fmt.Sprintf("A%d: b", i))
		}
		all = append(all, get(fmt.Sprintf("%d fields", n), f...))
	}
	for _, n := range []int{8, 30, 58, 61, 70, 130} {
		all = append(all, get(fmt.Sprintf("a value of %d KiB", n), "A: "+strings.Repeat("a", n<<10)))
	}
	return append(all, get("a name of 8 KiB", strings.Repeat("a", 8<<10)+": b"),
		get("70 KiB of many fields", strings.Split(strings.TrimSuffix(strings.Repeat("A: "+strings.Repeat("b", 997)+
			"\n", 70), "\n"), "\n")...))
}

func framing() []Case {
	body := "hello"
	var all []Case
	for _, l := range []string{"5", "05", "0000000000005", "+5", "-5", "0x5", "5 ", "5;", "5, 5", "5,5", "5, 6", "",
		" ", "five", "5.0", "1e1", "18446744073709551616", "99999999999999999999999"} {
		all = append(all, post(fmt.Sprintf("Content-Length %q", l), body, "Content-Length: "+l))
	}
	for _, te := range []string{"chunked", "Chunked", "CHUNKED", "xchunked", "chunkedx", "identity", "gzip",
		"gzip, chunked", "chunked, gzip", "chunked, chunked", "chunked, identity",
		"identity, chunked", ",chunked", "chunked,", " chunked ", "\tchunked", "chunked;q=1", "\"chunked\"", "",
		"chun ked", "trailers"} {
		all = append(all, post(fmt.Sprintf("Transfer-Encoding %q", te), "5\r\nhello\r\n0\r\n\r\n",
			"Transfer-Encoding: "+te))
	}
	return append(all,
		post("two lengths alike", body, "Content-Length: 5", "Content-Length: 5"),
		post("two lengths", body, "Content-Length: 5", "Content-Length: 6"),
		post("a length and chunks", "0\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked"),
		post("chunks and a length", "0\r\n\r\n", "Transfer-Encoding: chunked", "Content-Length: 5"),
		post("chunked given twice", "5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked",
			"Transfer-Encoding: chunked"),
		post("gzip and chunked in two lines", "5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: gzip",
			"Transfer-Encoding: chunked"),
		post("chunked and identity in two lines", "5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked",
			"Transfer-Encoding: identity"),
		post("a space before the colon of the length", body, "Content-Length : 5"),
		post("a space before the colon of the coding", "0\r\n\r\n", "Transfer-Encoding : chunked"),
		post("a POST without a length", ""),
		post("a length of nothing", "", "Content-Length: 0"),
		Case{Name: "a GET with a body", Send: "GET {get} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhello"},
		Case{Name: "a GET with chunks", Send: "GET {get} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: " +
			"chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		Case{Name: "a HEAD with a length", Send: "HEAD {get} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"},
		post("content encoding", body, "Content-Length: 5", "Content-Encoding: gzip"),
	)
}

func chunks() []Case {
	var all []Case
	for _, c := range []struct{ name, body string }{
		{"two", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"}, {"none", "0\r\n\r\n"}, {"a last one of two zeros",
			"5\r\nhello\r\n00\r\n\r\n"},
		{"digits in capitals", "A\r\n0123456789\r\n0\r\n\r\n"}, {"zeros first", "0005\r\nhello\r\n0\r\n\r\n"},
		{"0x first", "0x5\r\nhello\r\n0\r\n\r\n"},
		{"an extension", "5;a=b\r\nhello\r\n0\r\n\r\n"}, {"an extension in quotes",
			"5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n"}, {"an extension without a name", "5;\r\nhello\r\n0\r\n\r\n"},
		{"a space before an extension", "5 ;a=b\r\nhello\r\n0\r\n\r\n"}, {"an extension of 2 KiB",
			"5;" + strings.Repeat("a", 2<<10) + "\r\nhello\r\n0\r\n\r\n"},
		{"a space behind the size", "5 \r\nhello\r\n0\r\n\r\n"}, {"a space before the size",
			" 5\r\nhello\r\n0\r\n\r\n"}, {"a tab behind the size", "5\t\r\nhello\r\n0\r\n\r\n"},
		{"no size", "\r\nhello\r\n0\r\n\r\n"}, {"a size that is no number", "g\r\nhello\r\n0\r\n\r\n"},
		{"a negative size", "-5\r\nhello\r\n0\r\n\r\n"}, {"a signed size", "+5\r\nhello\r\n0\r\n\r\n"},
		{"a size with an underscore", "1_0\r\nhello\r\n0\r\n\r\n"}, {"a size beyond 64 bits",
			"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"}, {"two sizes", "5 5\r\nhello\r\n0\r\n\r\n"},
		{"more than the size", "5\r\nhelloX\r\n0\r\n\r\n"}, {"no line end behind it", "5\r\nhello0\r\n\r\n"},
		{"line feeds", "5\nhello\n0\n\n"}, {"a line feed behind the size", "5\nhello\r\n0\r\n\r\n"},
		{"a line feed behind the data", "5\r\nhello\n0\r\n\r\n"}, {"a line feed at the end", "5\r\nhello\r\n0\r\n\n"},
		{"a line feed in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"},
		{"a carriage return behind the size", "5\rhello\r\n0\r\n\r\n"}, {"a carriage return in an extension",
			"5;a\rb\r\nhello\r\n0\r\n\r\n"}, {"a NUL in an extension", "5;a\x00\r\nhello\r\n0\r\n\r\n"},
		{"a trailer", "5\r\nhello\r\n0\r\nA: b\r\n\r\n"}, {"a trailer that frames",
			"5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n"}, {"a trailer without a colon",
			"5\r\nhello\r\n0\r\nA\r\n\r\n"},
		{"a trailer that is folded", "5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n"}, {"a trailer with a NUL",
			"5\r\nhello\r\n0\r\nA: \x00\r\n\r\n"}, {"a trailer with a space before the colon",
			"5\r\nhello\r\n0\r\nA : b\r\n\r\n"},
	} {
		all = append(all, post("chunks: "+c.name, c.body, "Transfer-Encoding: chunked"))
	}
	return append(all,
		waits(post("chunks: one of 10 that is not all there", "a\r\nhello", "Transfer-Encoding: chunked")),
		waits(post("chunks: no last one", "5\r\nhello\r\n", "Transfer-Encoding: chunked")))
}

func lineEnds() []Case {
	return []Case{
		{Name: "line feeds alone", Send: "GET {get} HTTP/1.1\nHost: {host}\n\n"},
		{Name: "line feeds alone, with a body", Send: "POST {post} HTTP/1.1\nHost: {host}\nContent-Length: 5\n\nhello"},
		{Name: "a line feed ends the request line", Send: "GET {get} HTTP/1.1\nHost: {host}\r\n\r\n"},
		{Name: "a line feed ends a field", Send: "GET {get} HTTP/1.1\r\nHost: {host}\nA: b\r\n\r\n"},
		{Name: "a line feed ends the head", Send: "GET {get} HTTP/1.1\r\nHost: {host}\r\n\n"},
		{Name: "a line feed before the empty line", Send: "GET {get} HTTP/1.1\r\nHost: {host}\n\r\n"},
		{Name: "a line feed in place of a field's end hides another",
			Send: "GET {get} HTTP/1.1\r\nHost: {host}\r\nA: b\nX-Role: admin\r\n\r\n"},
		{Name: "carriage returns alone", Send: "GET {get} HTTP/1.1\rHost: {host}\r\r", Waits: true},
		{Name: "two carriage returns", Send: "GET {get} HTTP/1.1\r\r\nHost: {host}\r\n\r\n"},
		{Name: "a head without its end", Send: "GET {get} HTTP/1.1\r\nHost: {host}\r\n", Waits: true},
		{Name: "empty lines alone", Send: "\r\n\r\n\r\n", Waits: true},
	}
}

func connections() []Case {
	return []Case{
		get("Connection: close", "Connection: close"), get("Connection: Close", "Connection: Close"),
		get("Connection: keep-alive", "Connection: keep-alive"),
		get("Connection: close, keep-alive", "Connection: close, keep-alive"), get("Connection twice", "Connection: x",
			"Connection: close"), get("an empty Connection", "Connection:"),
		get("Connection names a field", "Connection: a", "A: b"), get("Connection names the host", "Connection: host"),
		get("Connection names the length", "Connection: content-length", "Content-Length: 0"),
		get("Connection names the coding", "Connection: transfer-encoding"), get("Connection names x-forwarded-for",
			"Connection: x-forwarded-for", "X-Forwarded-For: 192.0.2.1"),
		get("Connection names the method", "Connection: :method"), get("Connection: te", "Connection: te",
			"TE: trailers"), get("TE: trailers", "TE: trailers"), get("TE: gzip", "TE: gzip"),
		get("Keep-Alive", "Keep-Alive: timeout=5"), get("Proxy-Connection", "Proxy-Connection: keep-alive"),
		get("Proxy-Authorization", "Proxy-Authorization: Basic x"),
		get("upgrade to h2c", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
			"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"),
		get("upgrade to h2c and websocket", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c, websocket",
			"HTTP2-Settings: AAMAAABk"),
		get("upgrade to websocket, not taken", "Connection: Upgrade", "Upgrade: websocket"),
		get("upgrade to WebSocket, not taken", "Connection: upgrade", "Upgrade: WebSocket"),
		get("upgrade to another protocol", "Connection: Upgrade", "Upgrade: mission"), get("Upgrade without Connection",
			"Upgrade: websocket"), get("Connection: upgrade alone", "Connection: Upgrade"),
		waits(post("upgrade with a body", "hello", "Connection: Upgrade", "Upgrade: websocket", "Content-Length: 5")),
		answers(2, post("Expect: 100-continue", "hello", "Expect: 100-continue", "Content-Length: 5")),
		get("Expect without a body", "Expect: 100-continue"),
		post("Expect another thing", "hello", "Expect: 200-ok", "Content-Length: 5"),
		{Name: "Expect: 100-continue of what is refused",
			Send: "POST {no} HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"},
		line("refused", "GET {no} HTTP/1.1"), line("refused, HEAD", "HEAD {no} HTTP/1.1"),
		{Name: "refused, with a body", Send: "POST {no} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhello"},
		{Name: "refused, with chunks", Send: "POST {no} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: " +
			"chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		{Name: "refused and closed", Send: "GET {no} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"},
		{Name: "refused, gRPC", Send: "POST {no} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/grpc\r\nTE: " +
			"trailers\r\nContent-Length: 5\r\n\r\nhello"},
		{Name: "refused, gRPC with a codec", Send: "GET {no} HTTP/1.1\r\nHost: {host}\r\nContent-Type: " +
			"application/grpc+proto\r\n\r\n"},
		{Name: "refused, gRPC-Web", Send: "GET {no} HTTP/1.1\r\nHost: {host}\r\nContent-Type: " +
			"application/grpc-web\r\n\r\n"},
		waits(post("half a body", "hel", "Content-Length: 5")),
	}
}

func pipelines() []Case {
	one := "GET {get} HTTP/1.1\r\nHost: {host}\r\n\r\n"
	return []Case{
		{Name: "two requests", Send: one + one, Answers: 2},
		{Name: "a refused one and another", Send: "GET {no} HTTP/1.1\r\nHost: {host}\r\n\r\n" + one, Answers: 2},
		{Name: "one and a refused one", Send: one + "GET {no} HTTP/1.1\r\nHost: {host}\r\n\r\n", Answers: 2},
		{Name: "a body and another", Send: "POST {post} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhello" +
			one, Answers: 2},
		{Name: "chunks and another", Send: "POST {post} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: " +
			"chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + one, Answers: 2},
		{Name: "one and a broken one", Send: one + "GET {get} HTTP/x\r\n\r\n", Answers: 2},
		{Name: "one that closes and another", Send: "GET {get} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n" +
			one},
		{Name: "an empty line between", Send: one + "\r\n" + one, Answers: 2},
	}
}

func strangers() []Case {
	hello := "\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + strings.Repeat("\x20", 194)
	return []Case{
		{Name: "a TLS hello", Send: hello},
		{Name: "an SSH banner", Send: "SSH-2.0-OpenSSH_9.6\r\n"},
		{Name: "an answer in place of a request", Send: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		{Name: "zeros", Send: strings.Repeat("\x00", 100)},
		{Name: "letters", Send: strings.Repeat("artemis ", 20) + "\r\n\r\n"},
		{Name: "a PROXY line",
			Send: "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET {get} HTTP/1.1\r\nHost: {host}\r\n\r\n"},
		{Name: "half a preface of HTTP/2", Send: "PRI * HTT", Waits: true},
		{Name: "SMTP", Send: "EHLO artemis.example\r\n\r\n"},
	}
}
