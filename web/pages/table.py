"""The table of pages: which address is answered by which function, for whom."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from aiohttp import hdrs, web

from web.pages.forms import Form, read_form
from web.pages.render import Shown, render

V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)


Handler = Callable[[V], Awaitable[Shown | web.StreamResponse]]
FormReader = Callable[[web.Request], Awaitable[Form]]


class Door(Protocol[V_co]):
    """Lets a request in as a visit, or answers with where to go instead; checks a form's token before it is read on."""

    async def __call__(self, request: web.Request, form: Form) -> V_co | web.StreamResponse:
        """Return the visit, or the answer to whoever may not come in. Raises RejectedError."""


@dataclass(frozen=True)
class Page(Generic[V]):
    """One address and the function behind it."""

    method: str
    path: str
    handler: Handler[V]
    read: FormReader


class PageTable(Generic[V]):
    """The pages of one kind of visitor; forms of pages that were only looked at are empty."""

    def __init__(self, door: Door[V]) -> None:
        self._door = door
        self.pages: list[Page[V]] = []

    def get(self, path: str) -> Callable[[Handler[V]], Handler[V]]:
        """Register a page."""
        return self._add(hdrs.METH_GET, path, read_form)

    def post(self, path: str, *, read: FormReader = read_form) -> Callable[[Handler[V]], Handler[V]]:
        """Register what a form does; `read` is another way of reading it, for one that brings a file."""
        return self._add(hdrs.METH_POST, path, read)

    def _add(self, method: str, path: str, read: FormReader) -> Callable[[Handler[V]], Handler[V]]:
        def register(handler: Handler[V]) -> Handler[V]:
            self.pages.append(Page(method, path, handler, read))
            return handler

        return register

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add all of the pages to the application's addresses."""
        for page in self.pages:
            router.add_route(page.method, page.path, self._answering(page))
            if page.method == hdrs.METH_GET:
                router.add_route(hdrs.METH_HEAD, page.path, self._answering(page))

    def _answering(self, page: Page[V]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            form = await page.read(request) if page.method == hdrs.METH_POST else Form.empty()
            visit = await self._door(request, form)
            if isinstance(visit, web.StreamResponse):
                return visit
            shown = await page.handler(visit)
            return await render(visit, shown) if isinstance(shown, Shown) else shown

        return answer


def see_other(address: str) -> web.Response:
    """Return the answer that sends the visitor to another page."""
    return web.Response(status=303, headers={"Location": address})
