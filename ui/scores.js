// A click in the table of judged rows says which page and which row; a row's question goes into the chat's box at once.
let last = null;
element.addEventListener('click', (event) => {
  const told = event.target.closest('[data-judged], [data-page], [data-chat]');
  if (!told) return;
  if ('chat' in told.dataset) return chat(told.dataset.chat, told.closest('td').querySelector('.judged-asked').textContent);
  const page = told.dataset.page || element.querySelector('[data-at]').dataset.at;
  const open = told.getAttribute('aria-expanded') === 'true' ? 0 : told.dataset.judged || 0;
  last = told.dataset.judged ? `[data-judged="${told.dataset.judged}"]` : '[data-judged]';
  document.body.dataset.judged = JSON.stringify([Number(page), Number(open)]);
  document.querySelector('#scores-turn').click();
});
function chat(row, question) {
  document.querySelector('#compare-chat-button').click();
  document.querySelector('#compare-parts').scrollIntoView();
  if (row) {
    document.body.dataset.askHeldOut = row;
    document.querySelector('#chat-held-out').click();
    return;
  }
  const box = document.querySelector('#prompt textarea');
  box.value = question;
  box.dispatchEvent(new Event('input', {bubbles: true}));
  setTimeout(() => box.focus(), 100);
}
new MutationObserver(() => {
  if (last && !element.contains(document.activeElement)) element.querySelector(last)?.focus({preventScroll: true});
  last = null;
}).observe(element, {childList: true, subtree: true});
