package cat

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// vectorCounts are the vectors of each kind.
var vectorCounts = map[string]int{"proactive": 670, "terminal_response": 293, "envelope": 58}

// TestVectorsRoundTrip takes each vector apart and puts it together again.
func TestVectorsRoundTrip(t *testing.T) {
	counts := map[string]int{}
	for _, v := range loadVectors(t) {
		t.Run(v.ID, func(t *testing.T) {
			b := v.bytes(t)
			inner, tag := b, byte(0)
			if v.Kind != "terminal_response" {
				var err error
				if tag, inner, err = parseTemplate(b); err != nil {
					t.Fatal(err)
				}
			}
			tlvs, err := ParseTLVs(inner)
			if err != nil {
				t.Fatal(err)
			}
			compareTLVs(t, tlvs, v.Decoded)
			again := AppendTLVs(nil, tlvs)
			if v.Kind != "terminal_response" {
				again = appendTemplate(nil, tag, again)
			}
			if !bytes.Equal(again, b) {
				t.Errorf("put together again:\n got %X\nwant %X", again, b)
			}
			counts[v.Kind]++
		})
	}
	for kind, want := range vectorCounts {
		if counts[kind] != want {
			t.Errorf("%s: %d vectors passed, want %d", kind, counts[kind], want)
		}
	}
}

func compareTLVs(t *testing.T, tlvs []TLV, d decoded) {
	t.Helper()
	if len(tlvs) != len(d.TLVs) {
		t.Fatalf("%d objects, want %d", len(tlvs), len(d.TLVs))
	}
	for i, o := range tlvs {
		want := d.TLVs[i]
		raw := hexByte(t, want.Tag)
		if o.Tag != Tag(raw&0x7F) || o.CR != want.CR || len(o.Value) != want.Len {
			t.Errorf("object %d: tag %02X CR %v length %d, want %s %v %d", i, uint16(o.Tag), o.CR, len(o.Value), want.Tag, want.CR, want.Len)
		}
	}
}

// decodedTypes are the commands that this package decodes, with the number of their vectors.
var decodedTypes = map[CommandType]struct{ commands, responses int }{
	TypeRefresh: {2, 13}, TypeMoreTime: {1, 1}, TypePollInterval: {1, 3}, TypePollingOff: {1, 1}, TypeSetUpEventList: {6, 1},
	TypeProvideLocalInformation: {6, 17}, TypeTimerManagement: {38, 32}, TypeLanguageNotification: {2, 2},
	TypeOpenChannel: {4, 2}, TypeCloseChannel: {2, 1}, TypeReceiveData: {1, 1}, TypeSendData: {2, 2}, TypeGetChannelStatus: {1, 2},
	TypeDisplayText: {30, 34}, TypeSetUpIdleModeText: {36, 3}, TypeSetUpMenu: {35, 3}, TypeSelectItem: {48, 13}, TypeSendShortMessage: {45, 3},
}

// refusedVectors are the commands that conformance tests want refused, by a terminal that knows their type.
var refusedVectors = map[string]GeneralResult{
	"ofono/setup_menu_neg_1": ResultValuesMissing, "ofono/setup_menu_neg_2": ResultDataNotUnderstood,
	"ofono/setup_menu_neg_3": ResultDataNotUnderstood, "ofono/setup_menu_neg_4": ResultDataNotUnderstood,
	"ofono/setup_idle_mode_text_241": ResultDataNotUnderstood, "ofono/run_at_command_251": ResultDataNotUnderstood,
	"ofono/display_text_191": ResultDataNotUnderstood, // an icon, and a text without characters
}

// TestVectorsCommands parses every proactive command. Those that this package decodes must mean what the vector says, and
// be built from that meaning.
func TestVectorsCommands(t *testing.T) {
	counts, others := map[CommandType]int{}, 0
	for _, v := range loadVectors(t) {
		if v.Kind != "proactive" {
			continue
		}
		t.Run(v.ID, func(t *testing.T) {
			c, err := ParseCommand(v.bytes(t))
			result, refused := refusedVectors[v.ID]
			if _, ours := decodedTypes[c.Details.Type]; ours && refused {
				checkResult(t, err, result)
				others++
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			d := v.Decoded
			want := Command{
				Details: CommandDetails{*d.Number, CommandType(hexByte(t, d.Type)), hexByte(t, d.Qualifier)},
				Devices: DeviceIdentities{device(t, d.Source), device(t, d.Destination)},
			}
			if c.Details != want.Details || c.Devices != want.Devices {
				t.Errorf("%+v %v, want %+v %v", c.Details, c.Devices, want.Details, want.Devices)
			}
			if _, ours := decodedTypes[c.Details.Type]; !ours {
				if _, ok := c.Body.(*Unsupported); !ok {
					t.Errorf("body %T", c.Body)
				}
				others++
				return
			}
			if want.Body = buildShownBody(t, want.Details.Type, v); want.Body == nil {
				want.Body = buildBody(t, want.Details.Type, d)
			}
			got, built := withoutCR(t, c.Append(nil)), withoutCR(t, want.Append(nil))
			if !bytes.Equal(got, withoutCR(t, v.bytes(t))) {
				t.Errorf("parsed and appended:\n got %X\nwant %s", got, v.Hex)
			}
			if !bytes.Equal(built, withoutCR(t, v.bytes(t))) {
				t.Errorf("built from its meaning:\n got %X\nwant %s", built, v.Hex)
			}
			checkMeaning(t, c, d)
			checkShownMeaning(t, c.Body, d)
			counts[c.Details.Type]++
		})
	}
	total := others
	for typ, want := range decodedTypes {
		if counts[typ] != want.commands {
			t.Errorf("%v: %d vectors, want %d", typ, counts[typ], want.commands)
		}
		total += counts[typ]
	}
	if total != vectorCounts["proactive"] {
		t.Errorf("%d vectors, want %d", total, vectorCounts["proactive"])
	}
}

// buildBody makes the body that the decoded fields describe.
func buildBody(t *testing.T, typ CommandType, d decoded) Body {
	t.Helper()
	p := Presentation{}
	if d.AlphaID != nil {
		p.Alpha = NewAlpha(*d.AlphaID)
	}
	if d.TextAttribute != "" {
		p.TextAttribute = unhex(t, d.TextAttribute)
	}
	switch typ {
	case TypeRefresh:
		r := &Refresh{Presentation: p}
		if d.FileList != "" {
			r.Files = unhex(t, d.FileList)
		}
		return r
	case TypePollInterval:
		return &PollInterval{Interval: d.duration(t)}
	case TypeSetUpEventList:
		s := &SetUpEventList{}
		for _, e := range d.Events {
			s.Events = append(s.Events, EventCode(hexByte(t, e)))
		}
		return s
	case TypeTimerManagement:
		m := &TimerManagement{Timer: d.TimerID}
		if d.TimerValue != "" {
			v := timerValue(t, d.TimerValue)
			m.Value = &v
		}
		return m
	case TypeLanguageNotification:
		l := &LanguageNotification{}
		if d.Language != "" {
			l.Language = []byte(d.Language)
		}
		return l
	case TypeOpenChannel:
		return buildOpenChannel(t, p, d)
	case TypeReceiveData:
		return &ReceiveData{Presentation: p, Length: *d.ChannelDataLength}
	case TypeSendData:
		return &SendData{Presentation: p, Data: unhex(t, *d.ChannelData)}
	case TypeCloseChannel:
		return &CloseChannel{p}
	case TypeGetChannelStatus:
		return &GetChannelStatus{p}
	case TypeMoreTime:
		return &MoreTime{}
	case TypePollingOff:
		return &PollingOff{}
	case TypeProvideLocalInformation:
		return &ProvideLocalInformation{}
	}
	t.Fatalf("no body for %v", typ)
	return nil
}

func buildOpenChannel(t *testing.T, p Presentation, d decoded) *OpenChannel {
	t.Helper()
	login, password := NewText(d.Texts[0]), NewText(d.Texts[1])
	a := netip.MustParseAddr(d.DestinationAddress.Address)
	o := &OpenChannel{
		Presentation: p, BufferSize: *d.BufferSize, Bearer: d.bearer(t), Login: &login, Password: &password,
		Transport: &TransportLevel{TransportProtocol(d.Transport.Type), d.Transport.Port}, Destination: &a,
	}
	if d.NAN != nil {
		n := NetworkAccessName(strings.Join(d.NAN.Labels, "."))
		o.NetworkAccessName = &n
	}
	return o
}

func (d decoded) bearer(t *testing.T) *BearerDescription {
	t.Helper()
	return &BearerDescription{BearerType(d.Bearer.Type), unhex(t, d.Bearer.Parameters)}
}

// checkMeaning compares the fields of a parsed command with the decoded ones.
func checkMeaning(t *testing.T, c Command, d decoded) {
	t.Helper()
	var p Presentation
	equal := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	switch b := c.Body.(type) {
	case *Refresh:
		equal("files", strings.ToUpper(hex.EncodeToString(b.Files)), d.FileList)
		p = b.Presentation
	case *PollInterval:
		equal("interval", b.Interval, d.duration(t))
	case *SetUpEventList:
		var codes []string
		for _, e := range b.Events {
			codes = append(codes, strings.ToUpper(hex.EncodeToString([]byte{byte(e)})))
		}
		equal("events", strings.Join(codes, " "), strings.Join(d.Events, " "))
	case *TimerManagement:
		equal("timer", b.Timer, d.TimerID)
		equal("has a value", b.Value != nil, d.TimerValue != "")
		if b.Value != nil {
			equal("value", *b.Value, timerValue(t, d.TimerValue))
		}
	case *LanguageNotification:
		equal("language", string(b.Language), d.Language)
	case *OpenChannel:
		equal("bearer", b.Bearer.Type, BearerType(d.Bearer.Type))
		equal("parameters", strings.ToUpper(hex.EncodeToString(b.Bearer.Parameters)), d.Bearer.Parameters)
		equal("buffer", b.BufferSize, *d.BufferSize)
		equal("login", b.Login.Decode(), d.Texts[0])
		equal("password", b.Password.Decode(), d.Texts[1])
		equal("transport", *b.Transport, TransportLevel{TransportProtocol(d.Transport.Type), d.Transport.Port})
		equal("destination", b.Destination.String(), d.DestinationAddress.Address)
		equal("has a name", b.NetworkAccessName != nil, d.NAN != nil)
		equal("local address", b.LocalAddress == nil, true)
		if d.NAN != nil {
			equal("name", string(*b.NetworkAccessName), strings.Join(d.NAN.Labels, "."))
		}
		p = b.Presentation
	case *CloseChannel:
		p = b.Presentation
	case *ReceiveData:
		equal("length", b.Length, *d.ChannelDataLength)
		p = b.Presentation
	case *SendData:
		equal("data", strings.ToUpper(hex.EncodeToString(b.Data)), *d.ChannelData)
		p = b.Presentation
	case *GetChannelStatus:
		p = b.Presentation
	case *DisplayText, *SetUpIdleModeText, *SetUpMenu, *SelectItem, *SendShortMessage:
		return // checkShownMeaning's
	}
	equal("has an alpha identifier", p.Alpha != nil, d.AlphaID != nil)
	if p.Alpha != nil && d.AlphaID != nil {
		equal("alpha identifier", p.Alpha.Decode(), *d.AlphaID)
	}
	equal("text attribute", strings.ToUpper(hex.EncodeToString(p.TextAttribute)), d.TextAttribute)
}

// TestVectorsResponses parses every terminal response. Those to commands that this package decodes must be built from
// their meaning.
func TestVectorsResponses(t *testing.T) {
	counts, others := map[CommandType]int{}, 0
	for _, v := range loadVectors(t) {
		if v.Kind != "terminal_response" {
			continue
		}
		t.Run(v.ID, func(t *testing.T) {
			d := v.Decoded
			typ := CommandType(hexByte(t, d.Type))
			if _, ours := decodedTypes[typ]; ours {
				counts[typ]++
			} else {
				others++
			}
			r, devices, err := ParseResponse(v.bytes(t))
			if v.ID == "ofono/refresh_response_311" { // result 20 without the octet that must follow it
				if err == nil {
					t.Error("a result without its mandatory additional information was taken")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			details := CommandDetails{*d.Number, typ, hexByte(t, d.Qualifier)}
			if r.Details != details || devices != (DeviceIdentities{device(t, d.Source), device(t, d.Destination)}) {
				t.Errorf("%+v %+v", r.Details, devices)
			}
			if got := strings.ToUpper(hex.EncodeToString(r.Result.Info)); byte(r.Result.General) != hexByte(t, d.Result) || got != d.AdditionalInfo {
				t.Errorf("result %v, want %s %s", r.Result, d.Result, d.AdditionalInfo)
			}
			if again := r.Append(nil); !bytes.Equal(withoutCR(t, again), withoutCR(t, v.bytes(t))) {
				t.Errorf("parsed and appended:\n got %X\nwant %s", again, v.Hex)
			}
			if _, ours := decodedTypes[typ]; ours {
				built := buildResponse(t, details, d).Append(nil)
				if !bytes.Equal(withoutCR(t, built), withoutCR(t, v.bytes(t))) {
					t.Errorf("built from its meaning:\n got %X\nwant %s", built, v.Hex)
				}
			}
		})
	}
	total := others
	for typ, want := range decodedTypes {
		if counts[typ] != want.responses {
			t.Errorf("%v: %d vectors, want %d", typ, counts[typ], want.responses)
		}
		total += counts[typ]
	}
	if total != vectorCounts["terminal_response"] {
		t.Errorf("%d vectors, want %d", total, vectorCounts["terminal_response"])
	}
}

func buildResponse(t *testing.T, details CommandDetails, d decoded) Response {
	t.Helper()
	cmd := Command{Details: details}
	result := Result{General: GeneralResult(hexByte(t, d.Result)), Info: unhex(t, d.AdditionalInfo)}
	var o []TLV
	switch details.Type {
	case TypeOpenChannel:
		for _, s := range d.statuses(t) {
			o = append(o, ChannelStatusObject(s))
		}
		o = append(o, BearerObject(*d.bearer(t)), BufferSizeObject(*d.BufferSize))
	case TypeSendData, TypeReceiveData:
		if d.ChannelData != nil {
			o = append(o, ChannelDataObject(unhex(t, *d.ChannelData)))
		}
		if d.ChannelDataLength != nil {
			o = append(o, ChannelDataLengthObject(int(*d.ChannelDataLength)))
		}
	case TypeGetChannelStatus:
		for _, s := range d.statuses(t) {
			o = append(o, ChannelStatusListObject(s))
		}
	case TypePollInterval:
		o = append(o, d.duration(t).tlv())
	case TypeSelectItem:
		if d.ItemID != nil {
			o = append(o, ItemIdentifierObject(*d.ItemID))
		}
	case TypeTimerManagement:
		if d.TimerID != 0 {
			o = append(o, TLV{TagTimerIdentifier, true, []byte{d.TimerID}})
		}
		if d.TimerValue != "" {
			o = append(o, timerValue(t, d.TimerValue).tlv())
		}
	case TypeProvideLocalInformation:
		return buildLocalInformation(t, cmd, d)
	}
	return Respond(cmd, result, o...)
}

func (d decoded) statuses(t *testing.T) []ChannelStatus {
	t.Helper()
	var list []ChannelStatus
	for _, raw := range d.ChannelStatus {
		s, err := ParseChannelStatus(unhex(t, raw.Raw))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

// buildLocalInformation has LocalInfo answer where it can; the values that need a radio are put in as they are.
func buildLocalInformation(t *testing.T, cmd Command, d decoded) Response {
	t.Helper()
	raw := func(tag Tag, s string) TLV { return TLV{tag, true, unhex(t, s)} }
	info := &LocalInfo{}
	switch {
	case d.LocationInfo != "":
		info.Location = Location{LocationNormal, unhex(t, d.LocationInfo)}.Fixed()
	case d.IMEI != "":
		info.IMEI = "123456789012345"
	case d.IMEISV != "":
		info.IMEISV = "1234567890123456"
	case d.Language != "":
		info.Language = d.Language
	case d.DateTime != "": // its zone is FF, not known; ours is always known
		at := time.Date(2002, 5, 7, 14, 8, 17, 0, time.UTC)
		info.Now = func() time.Time { return at }
		r := info.respond(cmd)
		if v := r.Objects[0].Value; v[6] == 0x00 {
			v[6] = 0xFF
		}
		return r
	case d.NMR != "":
		o := []TLV{raw(0x16, d.NMR)}
		if d.BCCHList != "" {
			o = append(o, raw(0x1D, d.BCCHList))
		}
		return Respond(cmd, OK, o...)
	case d.TimingAdvance != "":
		return Respond(cmd, OK, raw(0x2E, d.TimingAdvance))
	case d.AccessTechnology != "":
		return Respond(cmd, OK, raw(TagAccessTechnology, d.AccessTechnology))
	case d.ESN != "":
		return Respond(cmd, OK, raw(0x46, d.ESN))
	case d.BatteryState != "":
		return Respond(cmd, OK, raw(0x63, d.BatteryState))
	}
	return info.respond(cmd)
}
