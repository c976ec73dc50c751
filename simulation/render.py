"""Meta's webhook JSON: the parts that one update becomes, and the body that carries many.

Owns the wire shape. Pieces are joined as text because a generator that builds dictionaries first is several times
slower; every value that goes in is made by this package and needs no escaping.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from simulation.world import Account, BusinessNumber, Identity, Incoming, Rename, Said, Status

_WIRE_CATEGORY = {"authentication_international": "authentication-international"}

_ERROR_TITLES = {
    131049: "This message was not delivered to maintain healthy ecosystem engagement",
    131026: "Message undeliverable",
    131047: "Re-engagement message",
    130472: "User's number is part of an experiment",
    131053: "Media upload error",
    131000: "Something went wrong",
}

_MEDIA = '{{"mime_type":"{mime}","sha256":"c2ltdWxhdGVk","id":"100000000000001"}}'
_CONTENT = {
    "text": '"type":"text","text":{"body":"Hello, is this still available?"}',
    "image": '"type":"image","image":' + _MEDIA.format(mime="image/jpeg"),
    "audio": '"type":"audio","audio":' + _MEDIA.format(mime="audio/ogg; codecs=opus"),
    "video": '"type":"video","video":' + _MEDIA.format(mime="video/mp4"),
    "document": '"type":"document","document":' + _MEDIA.format(mime="application/pdf"),
    "sticker": '"type":"sticker","sticker":' + _MEDIA.format(mime="image/webp"),
    "location": '"type":"location","location":{"latitude":-23.55,"longitude":-46.63}',
    "contacts": '"type":"contacts","contacts":[{"name":{"formatted_name":"Sam"},"phones":[{"type":"CELL"}]}]',
    "interactive_button": '"type":"interactive","interactive":{"type":"button_reply",'
    '"button_reply":{"id":"yes","title":"Yes"}}',
    "interactive_list": '"type":"interactive","interactive":{"type":"list_reply",'
    '"list_reply":{"id":"row-2","title":"Tomorrow","description":""}}',
    "button": '"type":"button","button":{"payload":"STOP","text":"Stop"}',
    "order": '"type":"order","order":{"catalog_id":"200000000000001","product_items":[{"product_retailer_id":"sku-1",'
    '"quantity":1,"item_price":12.5,"currency":"USD"}]}',
    "reaction": '"type":"reaction","reaction":{"message_id":"wamid.earlier","emoji":"\\ud83d\\udc4d"}',
    "unsupported": '"type":"unsupported","errors":[{"code":131051,"title":"Message type unknown",'
    '"message":"Message type unknown","error_data":{"details":"Message type is currently not supported."}}]',
    "system": '"type":"system","system":{"body":"The user changed their profile","type":"customer_identity_changed"}',
}
_REFERRAL = (
    ',"referral":{"source_url":"https://fb.me/simulated","source_id":"120000000000000001","source_type":"ad",'
    '"body":"Ask us","headline":"Chat with us","media_type":"image","image_url":"https://example.com/ad.jpg",'
    '"ctwa_clid":"simulated-click"}'
)


class Voice:
    """The parts that repeat on each update that names a person in one way, written once."""

    __slots__ = ("contact", "recipient", "sender", "status_contact")

    def __init__(self, identity: Identity, *, with_status_contact: bool) -> None:
        """Write the parts; statuses carry a ``contacts`` list only since April 2026."""
        phone, bsuid, parent = identity.phone, identity.bsuid, identity.parent_bsuid
        fields = (f'"wa_id":"{phone}"' if phone else "", f'"user_id":"{bsuid}"' if bsuid else "",
                  f'"parent_user_id":"{parent}"' if parent else "")  # fmt: skip
        self.contact = f'{{"profile":{{"name":"{identity.name}"}},{_joined(fields)}}}'
        """Entry of ``contacts[]``."""
        self.status_contact = self.contact if with_status_contact else ""
        """Entry of ``contacts[]`` beside a status; empty = none."""
        self.recipient = _joined(
            (f'"recipient_id":"{phone}"' if phone else "", f'"recipient_user_id":"{bsuid}"' if bsuid else "",
             f'"recipient_parent_user_id":"{parent}"' if parent else "")
        )  # fmt: skip
        self.sender = _joined(
            (f'"from":"{phone}"' if phone else "", f'"from_user_id":"{bsuid}"' if bsuid else "",
             f'"from_parent_user_id":"{parent}"' if parent else "")
        )  # fmt: skip


def _joined(fields: Iterable[str]) -> str:
    return ",".join(field for field in fields if field)


def status_json(voice: Voice, message_id: str, status: Status) -> str:
    """Return one entry of ``statuses[]``."""
    said = _said_json(status.said) if status.said is not None else ""
    errors = _errors_json(status.error_code) if status.error_code else ""
    return f'{{"id":"{message_id}","status":"{status.name}","timestamp":"{status.at}",{voice.recipient}{said}{errors}}}'


def _said_json(said: Said) -> str:
    conversation = ""
    if said.conversation_id is not None:
        expiry = f',"expiration_timestamp":"{said.expires_at}"' if said.expires_at is not None else ""
        conversation = (
            f',"conversation":{{"id":"{said.conversation_id}"{expiry},"origin":{{"type":"{said.origin}"}}}}'
        )
    billable = "" if said.billable is None else f'"billable":{"true" if said.billable else "false"},'
    pricing_type = f'"type":"{said.pricing_type}",' if said.pricing_type is not None else ""
    category = _WIRE_CATEGORY.get(said.category or "", said.category)
    return (
        f'{conversation},"pricing":{{{billable}"pricing_model":"{said.pricing_model}",{pricing_type}'
        f'"category":"{category}"}}'
    )


def _errors_json(code: int) -> str:
    title = _ERROR_TITLES[code]
    return (
        f',"errors":[{{"code":{code},"title":"{title}","message":"{title}",'
        f'"error_data":{{"details":"Simulated failure {code}."}},"href":"https://example.com/error-codes"}}]'
    )


def incoming_json(voice: Voice, message: Incoming) -> str:
    """Return one entry of ``messages[]``; the type ``system`` is allowed as well."""
    referral = _REFERRAL if message.referral else ""
    return (
        f'{{{voice.sender},"id":"{message.message_id}","timestamp":"{message.at}",'
        f"{_CONTENT[message.type_name]}{referral}}}"
    )


def messages_change(
    number: BusinessNumber, list_name: str, contacts: Iterable[str], items: Sequence[str]
) -> str:
    """Return one entry of ``changes[]`` with ``items`` under ``statuses`` or ``messages``."""
    people = ",".join(dict.fromkeys(contact for contact in contacts if contact))
    contact_list = f'"contacts":[{people}],' if people else ""
    return (
        '{"field":"messages","value":{"messaging_product":"whatsapp","metadata":'
        f'{{"display_phone_number":"{number.display}","phone_number_id":"{number.number_id}"}},'
        f'{contact_list}"{list_name}":[{",".join(items)}]}}}}'
    )


def body(account: Account, changes: Iterable[str]) -> bytes:
    """Return one webhook body with one entry."""
    text = (
        f'{{"object":"whatsapp_business_account","entry":[{{"id":"{account.account_id}",'
        f'"changes":[{",".join(changes)}]}}]}}'
    )
    return text.encode("ascii")


def preferences_change(number: BusinessNumber, voice: Voice, phone: str, at: int) -> str:
    """Return a change of field ``user_preferences``, which is not metered; its time is an integer."""
    return (
        '{"field":"user_preferences","value":{"messaging_product":"whatsapp","metadata":'
        f'{{"display_phone_number":"{number.display}","phone_number_id":"{number.number_id}"}},'
        f'"contacts":[{voice.contact}],"user_preferences":[{{"wa_id":"{phone}","detail":"User asked for no more",'
        f'"category":"marketing_messages","value":"stop","timestamp":{at}}}]}}}}'
    )


def user_id_change(number: BusinessNumber, rename: Rename) -> str:
    """Return a change of field ``user_id_update``."""
    phone = f'"wa_id":"{rename.phone}"' if rename.phone is not None else ""
    named = phone or f'"user_id":"{rename.current}"'
    ids = f'"user_id":{{"previous":"{rename.previous}","current":"{rename.current}"}}'
    item = _joined((phone, '"detail":"The user id has changed"', ids, f'"timestamp":"{rename.at}"'))
    return (
        '{"field":"user_id_update","value":{"messaging_product":"whatsapp","metadata":'
        f'{{"display_phone_number":"{number.display}","phone_number_id":"{number.number_id}"}},'
        f'"contacts":[{{"profile":{{"name":"{rename.before.name}"}},{named}}}],'
        f'"user_id_update":[{{{item}}}]}}}}'
    )


def renamed_json(voice: Voice, message_id: str, rename: Rename) -> str:
    """Return the entry of ``messages[]`` that says that a user id was replaced; ``voice`` is of the time before."""
    phone = f',"wa_id":"{rename.phone}"' if rename.phone is not None else ""
    type_name = "user_changed_number" if phone else "user_changed_user_id"
    return (
        f'{{{voice.sender},"id":"{message_id}","timestamp":"{rename.at}","type":"system","system":{{'
        f'"type":"{type_name}","body":"User changed from {rename.previous} to {rename.current}"{phone},'
        f'"user_id":"{rename.current}","previous_user_id":"{rename.previous}"}}}}'
    )


def account_change(at: int, month: str) -> str:
    """Return a change of field ``account_update``, which is not metered."""
    return (
        '{"field":"account_update","value":{"event":"VOLUME_BASED_PRICING_TIER_UPDATE","volume_tier_info":'
        f'{{"tier_update_time":{at},"pricing_category":"UTILITY","tier":"0:100000","effective_month":"{month}",'
        '"region":"Rest of Africa"}}}'
    )
